"""The machine: files, folders, locks, processes, memory, GPUs, the clock."""
