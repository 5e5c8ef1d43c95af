"use strict";
(() => {
  const COLUMNS = ["clip", "recording_id", "start_ms", "end_ms", "label", "confidence", "verdict", "other_label", "reviewer", "checked_at"];
  const KEY = "badc-review/" + REVIEW.sample;
  const QUIET_PEAK = 0.5, MOST_GAIN = 100, AHEAD = 2, KEPT_SOUNDS = 8, DECODED_HZ = 48000;
  const PRESS = "Press Space to hear the clip.";
  const at = (id) => document.getElementById(id);
  const clips = REVIEW.clips;
  const numberOf = new Map(clips.map((clip, number) => [clip.id, number]));
  let verdicts = {}, undone = [], shown = [], now = -1, unsaved = false;

  // What the browser keeps. Some keep nothing for pages that come from a disk.
  let canKeep = true;
  function keep() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ verdicts, reviewer: at("reviewer").value, now: now < 0 ? null : clips[now].id }));
    } catch { canKeep = false; }
    at("denied").hidden = canKeep;
  }
  function remembered() {
    try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch { canKeep = false; return {}; }
  }

  // Sound: base64 in a script, which is the one file that a page on a disk may read; decoded around the current clip.
  const sounds = new Map(), asked = new Map();
  let context = null, playing = null, chain = null;
  window.badcSound = (id, encoded) => {
    const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    const waiting = asked.get(id);
    // Not in the context that plays, which browsers object to before a person has pressed something.
    if (waiting) new OfflineAudioContext(1, 1, DECODED_HZ).decodeAudioData(bytes.buffer).then(waiting.resolve, waiting.reject);
  };
  function audio() {
    if (!context) {
      context = new AudioContext();
      // Two of each, which falls off by 24 dB in an octave.
      const filters = ["highpass", "highpass", "lowpass", "lowpass"].map((type) => new BiquadFilterNode(context, { type }));
      const gain = context.createGain();
      [...filters, gain, context.destination].reduce((one, next) => one.connect(next));
      chain = { filters, gain };
    }
    return context;
  }
  function sound(number) {
    const id = clips[number].id;
    if (!sounds.has(id)) {
      sounds.set(id, new Promise((resolve, reject) => {
        asked.set(id, { resolve, reject });
        const script = document.createElement("script");
        script.src = "sounds/" + id + ".js";
        script.onload = () => script.remove();
        script.onerror = () => { script.remove(); reject(new Error("sounds/" + id + ".js is not beside this page")); };
        document.head.append(script);
      }));
      sounds.get(id).catch(() => sounds.delete(id));
      for (const old of sounds.keys()) {
        if (sounds.size <= KEPT_SOUNDS) break;
        if (Math.abs(numberOf.get(old) - now) > AHEAD) { sounds.delete(old); asked.delete(old); }
      }
    }
    return sounds.get(id);
  }
  function tune() {
    const gainDb = Number(at("gain").value), low = Number(at("low").value) || 0, high = Number(at("high").value) || Infinity;
    at("gain-db").textContent = (gainDb > 0 ? "+" : "") + gainDb + " dB";
    if (now >= 0) {
      const top = clips[now].top;
      at("low-shade").style.height = Math.min(low / top, 1) * 100 + "%";
      at("high-shade").style.height = Math.max(0, 1 - high / top) * 100 + "%";
    }
    if (!chain || now < 0) return;
    const even = at("even").checked && clips[now].peak > 0 ? Math.min(QUIET_PEAK / clips[now].peak, MOST_GAIN) : 1;
    chain.gain.gain.value = even * 10 ** (gainDb / 20);
    for (const filter of chain.filters) {
      filter.frequency.value = filter.type === "highpass" ? low : Math.min(high, context.sampleRate / 2);
    }
  }
  function stop() {
    if (playing) { playing.source.onended = null; playing.source.stop(); playing = null; }
  }
  async function play() {
    stop();
    const number = now;
    let buffer;
    try { buffer = await sound(number); } catch (error) { say("The sound cannot be played: " + error.message); return; }
    if (number !== now) return;
    stop();
    const pressed = !navigator.userActivation || navigator.userActivation.hasBeenActive;
    if (pressed && audio().state === "suspended") {
      await Promise.race([context.resume(), new Promise((later) => setTimeout(later, 200))]);
      if (number !== now) return;
    }
    if (!context || context.state === "suspended") { say(PRESS); return; }
    if (at("said").textContent === PRESS) say("");
    tune();
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(chain.filters[0]);
    source.onended = () => { playing = null; if (at("repeat").checked && number === now) play(); };
    source.start();
    playing = { source, from: context.currentTime, length: buffer.duration };
    requestAnimationFrame(moveHead);
  }
  function moveHead() {
    const part = playing ? Math.min((context.currentTime - playing.from) / playing.length, 1) : 0;
    at("head").style.left = part * 100 + "%";
    if (playing) requestAnimationFrame(moveHead);
  }

  function say(words) { at("said").textContent = words; }
  function fits(clip) {
    const species = at("species").value, which = at("which").value, verdict = verdicts[clip.id];
    if (species && clip.label !== species) return false;
    if (which === "open") return !verdict;
    if (which === "done") return Boolean(verdict);
    return which !== "unsure" || Boolean(verdict && verdict.verdict === "?");
  }
  function choose() {
    shown = clips.map((_, number) => number).filter((number) => fits(clips[number]));
    if (shown.includes(now)) { draw(); return; }
    if (shown.length) go(shown[0]); else { say("No clip is left here."); draw(); }
  }
  function step(by) {
    // The current clip may have left what is shown, as when only unchecked clips are.
    const next = by > 0 ? shown.find((number) => number > now) : shown.findLast((number) => number < now);
    if (next === undefined) say(by > 0 ? "That was the last clip here." : "This is the first clip here."); else go(next);
  }
  function go(number) {
    stop();
    now = number;
    say("");
    at("other-form").hidden = true;
    draw();
    keep();
    if (at("auto").checked) play(); else sound(now).catch(() => {});
    for (let ahead = 1; ahead <= AHEAD; ahead++) {
      const next = shown[shown.indexOf(now) + ahead];
      if (next !== undefined) { sound(next).catch(() => {}); new Image().src = clips[next].picture; }
    }
  }
  function draw() {
    const checked = clips.filter((clip) => verdicts[clip.id]).length;
    at("done").value = checked;
    at("count").textContent = checked.toLocaleString("en") + " of " + clips.length.toLocaleString("en");
    at("undo").disabled = !undone.length;
    if (now < 0) return;
    const clip = clips[now], verdict = verdicts[clip.id] || {};
    const title = at("clip-title");
    title.textContent = clip.label;
    if (clip.name) { const name = document.createElement("i"); name.textContent = " " + clip.name; title.append(name); }
    const score = at("scores").checked ? " · confidence " + clip.score.toFixed(2) : "";
    at("place").textContent = "Clip " + clip.id + " · " + clip.where + score;
    const image = at("spectrogram");
    if (image.getAttribute("src") !== clip.picture) image.src = clip.picture;
    image.alt = "Spectrogram of clip " + clip.id + ": " + clip.label;
    at("mark").style.left = clip.from / clip.length * 100 + "%";
    at("mark").style.width = (clip.to - clip.from) / clip.length * 100 + "%";
    at("axis").textContent = clip.length.toFixed(1) + " s from left to right, 0 to " + (clip.top / 1000).toFixed(1) + " kHz from bottom to top";
    for (const [id, value] of [["yes", "y"], ["no", "n"], ["unsure", "?"]]) {
      at(id).setAttribute("aria-pressed", String(verdict.verdict === value && !verdict.other));
    }
    at("other").setAttribute("aria-pressed", String(Boolean(verdict.other)));
    at("other").firstChild.textContent = verdict.other ? "It is " + verdict.other + " " : "Another species ";
    tune();
  }
  function judge(verdict, other) {
    if (now < 0) return;
    const clip = clips[now];
    undone.push([clip.id, verdicts[clip.id]]);
    verdicts[clip.id] = { verdict, other: other || "", reviewer: at("reviewer").value.trim(), at: new Date().toISOString().slice(0, 19) + "Z" };
    unsaved = true;
    keep();
    const before = now;
    shown = shown.filter((number) => number === before || fits(clips[number]));
    step(1);
    if (now === before) draw();
  }
  function undo() {
    if (!undone.length) return;
    const [id, verdict] = undone.pop();
    if (verdict) verdicts[id] = verdict; else delete verdicts[id];
    unsaved = true;
    const number = numberOf.get(id);
    if (!shown.includes(number)) { shown.push(number); shown.sort((a, b) => a - b); }
    go(number);
    say("Undone: clip " + id + (verdict ? " is as before." : " is unchecked."));
  }
  function askOther() {
    at("other-form").hidden = false;
    at("other-label").value = now >= 0 && verdicts[clips[now].id] ? verdicts[clips[now].id].other : "";
    at("other-label").focus();
  }

  // verdicts.csv
  function cell(value) { const text = String(value); return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text; }
  function csv() {
    const rows = clips.filter((clip) => verdicts[clip.id]).map((clip) => {
      const v = verdicts[clip.id];
      return [clip.id, clip.recording, clip.start, clip.end, clip.label, clip.score, v.verdict, v.other, v.reviewer || at("reviewer").value.trim(), v.at].map(cell).join(",");
    });
    return [COLUMNS.join(","), ...rows].join("\n") + "\n";
  }
  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "verdicts.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unsaved = false;
    say("Saved as verdicts.csv, in the folder for downloads.");
  }
  function parsed(text) {
    const rows = [[""]];
    let quoted = false;
    for (let place = 0; place < text.length; place++) {
      const letter = text[place], row = rows[rows.length - 1];
      if (quoted) {
        if (letter !== '"') row[row.length - 1] += letter;
        else if (text[place + 1] === '"') { row[row.length - 1] += '"'; place++; }
        else quoted = false;
      } else if (letter === '"') quoted = true;
      else if (letter === ",") row.push("");
      else if (letter === "\n") rows.push([""]);
      else if (letter !== "\r") row[row.length - 1] += letter;
    }
    return rows.filter((row) => row.some(Boolean));
  }
  function load(text) {
    const rows = parsed(text.replace(/^\uFEFF/, ""));
    const names = (rows.shift() || []).map((name) => name.trim().toLowerCase());
    if (!names.includes("verdict")) { say("This is no verdicts.csv: it has no column verdict."); return; }
    const same = new Map(clips.map((clip) => [[clip.recording, clip.start, clip.label].join("\t"), clip.id]));
    let taken = 0;
    for (const row of rows) {
      const of = (name) => (row[names.indexOf(name)] || "").trim();
      const key = names.includes("recording_id") ? same.get([of("recording_id"), of("start_ms"), of("label")].join("\t")) : of("clip");
      const verdict = of("verdict").toLowerCase();
      if (!numberOf.has(key) || !["y", "n", "?"].includes(verdict)) continue;
      verdicts[key] = { verdict, other: of("other_label"), reviewer: of("reviewer"), at: of("checked_at") };
      taken++;
    }
    undone = [];
    keep();
    choose();
    say(taken + " of " + rows.length + " verdicts loaded" + (taken < rows.length ? "; the others are of other clips, or neither y, n nor ?." : "."));
  }

  // Buttons, keys
  const does = {
    play, next: () => step(1), previous: () => step(-1), undo, save, other: askOther,
    yes: () => judge("y"), no: () => judge("n"), unsure: () => judge("?"),
  };
  for (const [id, act] of Object.entries(does)) at(id).addEventListener("click", () => act());
  const keys = {
    y: "yes", n: "no", "?": "unsure", o: "other", u: "undo", " ": "play",
    arrowright: "next", arrowleft: "previous", j: "next", k: "previous",
  };
  document.addEventListener("keydown", (event) => {
    const tag = event.target.tagName, type = event.target.type;
    if (event.key === "Escape" && !at("other-form").hidden) { at("other-form").hidden = true; at("main").focus(); return; }
    const takesKeys = tag === "SELECT" || (tag === "INPUT" && type !== "checkbox");
    const undoing = (event.ctrlKey || event.metaKey) && event.key === "z";
    if (takesKeys || event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
    if (event.key === " " && (tag === "BUTTON" || tag === "INPUT")) return;  // it presses what has the focus
    const id = undoing ? "undo" : keys[event.key.toLowerCase()];
    if (!id) return;
    event.preventDefault();
    does[id]();
  });
  at("other-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const label = at("other-label").value.trim();
    if (!label) return;
    at("main").focus();
    judge("n", label);
  });
  at("load").addEventListener("change", async (event) => {
    if (event.target.files.length) load(await event.target.files[0].text());
    event.target.value = "";
  });
  for (const id of ["gain", "low", "high", "even"]) at(id).addEventListener("input", tune);
  for (const id of ["species", "which"]) at(id).addEventListener("change", choose);
  at("scores").addEventListener("change", draw);
  at("reviewer").addEventListener("change", keep);
  addEventListener("beforeunload", (event) => { if (!canKeep && unsaved) event.preventDefault(); });

  // Begin
  const species = [...new Set(clips.map((clip) => clip.label))];
  at("species").append(new Option("all", ""), ...species.map((label) => new Option(label, label)));
  at("labels").append(...REVIEW.labels.map((label) => new Option(label, label)));
  const before = remembered();
  verdicts = before.verdicts || {};
  at("reviewer").value = before.reviewer || "";
  shown = clips.map((_, number) => number);
  const open = clips.findIndex((clip) => !verdicts[clip.id]);
  if (clips.length) go(numberOf.get(before.now) ?? Math.max(open, 0)); else draw();
  at("denied").hidden = canKeep;
})();
