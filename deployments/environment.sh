# Sourced by the scripts beside it: ~/.config/badc.env, which `badc server start` writes, says what the environment does
# not, such as the server's address and its authentication string.
# shellcheck shell=bash
while IFS='=' read -r name value; do
  if [[ $name =~ ^[A-Z_][A-Z0-9_]*$ && ! -v $name ]]; then export "$name=$value"; fi
done < <(cat -- ~/.config/badc.env 2>/dev/null || true)
