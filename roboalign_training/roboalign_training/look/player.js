"use strict";
// The page: one playhead moves all cameras, plots and tokens of an episode.

/** Turns packed arrays of an episode into numbers, once. */
function unpackEpisode(episode) {
  for (const camera of episode.cameras) camera.times = unpack(camera.times);
  for (const group of episode.groups) {
    for (const plot of group.plots) {
      for (const line of plot.lines) { line.t = unpack(line.t); line.v = unpack(line.v); }
    }
  }
  if (episode.fast) {
    episode.fast.times = unpack(episode.fast.times);
    episode.fast.decoded = unpack(episode.fast.decoded);
  }
  episode.unpacked = true;
}

/** A camera's canvas. Returns {node, move(t)}. */
function cameraView(camera) {
  const [width, height] = camera.size;
  const canvas = element("canvas", {width: width || 160, height: height || 90, role: "img",
    class: width < 200 ? "few" : "many", "aria-label": `camera ${camera.key}`});
  const where = element("span");
  const node = element("figure", {}, canvas, element("figcaption", {}, element("b", {}, camera.key),
    camera.topic && camera.topic !== camera.key ? ` · ${camera.topic}` : "", element("br"), camera.share, " · ", where));
  const paint = canvas.getContext("2d");
  const images = new Map();
  let now = -2;
  const image = (i) => {
    if (i < 0 || i >= camera.jpegs.length) return null;
    if (!images.has(i)) {
      const made = new Image();
      made.addEventListener("load", () => { if (i === now) paint.drawImage(made, 0, 0, canvas.width, canvas.height); });
      made.src = `data:image/jpeg;base64,${camera.jpegs[i]}`;
      images.set(i, made);
    }
    return images.get(i);
  };
  return {
    node,
    move(t) {
      const i = indexAt(camera.times, t);
      where.textContent = i < 0 ? "no image yet" : `${i + 1} at ${camera.times[i].toFixed(3)} s`;
      const old = i >= 0 && camera.gap_s !== null && t - camera.times[i] > camera.gap_s;
      where.className = old ? "bad" : "";
      if (old) where.textContent += `, ${(t - camera.times[i]).toFixed(2)} s old`;
      if (i === now) return;
      now = i;
      const made = image(i);
      if (!made) paint.clearRect(0, 0, canvas.width, canvas.height);
      else if (made.complete && made.naturalWidth) paint.drawImage(made, 0, 0, canvas.width, canvas.height);
      for (let ahead = 1; ahead <= 4; ahead += 1) image(i + ahead);
    },
  };
}

/** Instruction, outcome, verdict and origin of an episode. */
function aboutEpisode(episode) {
  const rows = [...episode.about, ...episode.events.map(([t, kind, text]) => [`${t.toFixed(2)} s: ${kind}`, text])];
  return [
    episode.instruction ? element("div", {class: "instruction"}, "“", episode.instruction, "”") : null,
    element("div", {},
      ...episode.badges.map(([style, text]) => element("span", {class: `badge ${style}`}, text))),
    rows.length ? element("details", {class: "small"}, element("summary", {}, "frames, origin and events of this episode"),
      element("table", {}, element("tbody", {}, ...rows.map(([name, value]) =>
        element("tr", {}, element("th", {scope: "row"}, name), element("td", {}, value)))))) : null,
  ].filter(Boolean);
}

/** The plots of all channels in an element; returns what moves with the playhead. */
function plotGroups(into, context) {
  const moving = [], wide = into.clientWidth || 800;
  const columns = Math.max(1, Math.floor((wide + 16) / (24 * 14 + 16)));
  const width = Math.floor((wide - 16 * (columns - 1)) / columns);
  for (const group of context.episode.groups) {
    const charts = group.plots.map((plot) => plotChart(plot, group, {...context, width}));
    moving.push(...charts);
    const topic = group.topic && group.topic !== group.title ? ` · ${group.topic}` : "";
    const folded = element("details", {class: "group", open: ""},
      element("summary", {}, group.title, element("span", {class: "small"}, `${topic} · ${group.samples} samples`)),
      legend(group, context.fast), element("div", {class: "grid-of-plots"}, ...charts.map((chart) => chart.node)));
    into.append(folded);
  }
  return moving;
}

/** What the lines of a group of plots mean. */
function legend(group, fast) {
  const entry = (style, text) => element("span", {},
    drawing("svg", {viewBox: "0 0 26 8", "aria-hidden": "true"}, drawing("line", {class: style, x1: 0, x2: 26, y1: 4, y2: 4})), text);
  const entries = [];
  if (group.kind === "action" && fast) {
    entries.push(entry("line", "recorded"), entry("fast", "FAST, chunk after chunk"), entry("chunk", "FAST, chunk at the playhead"));
  } else if (group.kind === "error") {
    entries.push(...group.plots[0].lines.map((line, i) => entry(i ? "line second" : "line", line.label)));
  }
  if (group.plots.some((plot) => plot.limits)) entries.push(entry("limit", "limits of the contract"));
  return entries.length ? element("div", {class: "legend"}, ...entries) : null;
}

/** What was thought when; the newest one at the playhead is marked. Returns {node, move(t)}. */
function thoughtList(episode, seek) {
  const rows = episode.thoughts.map(([at, text, refused]) => {
    const button = element("button", {type: "button"}, element("time", {}, `${at.toFixed(1)} s`), text);
    button.addEventListener("click", () => seek(at));
    return element("li", {class: refused ? "refused" : "taken"}, button);
  });
  const times = episode.thoughts.map(([at]) => at);
  return {
    node: element("ol", {class: "thoughts"}, ...rows),
    move(t) {
      const now = indexAt(times, t);
      rows.forEach((row, i) => row.classList.toggle("now", i === now));
    },
  };
}

/** The choice of an episode: by what they belong to, where they say so. */
function episodeOptions(episodes) {
  const groups = new Map();
  for (const one of episodes) {
    const option = element("option", {}, one.label);
    if (!one.group) groups.set(option, option);
    else if (groups.has(one.group)) groups.get(one.group).append(option);
    else groups.set(one.group, element("optgroup", {label: one.group}, option));
  }
  return groups.values();
}

/** Starts the page. */
function startPlayer(data) {
  const at = (id) => document.getElementById(id);
  let episode = null, moving = [], steps = [], t = 0, playing = false, speed = 1, last = 0;

  function show(moment) {
    t = Math.min(Math.max(moment, 0), episode.seconds);
    at("seek").value = t;
    at("clock").textContent = `${t.toFixed(3)} / ${episode.seconds.toFixed(2)} s`;
    for (const part of moving) part.move(t);
  }
  function seek(moment) {
    pause();
    show(moment);
    history.replaceState(null, "", `#episode=${encodeURIComponent(episode.id)}&t=${t.toFixed(3)}`);
  }
  function pause() {
    playing = false;
    at("play").textContent = "\u25B6\uFE0E";
    at("play").setAttribute("aria-label", "play");
  }
  function play() {
    if (t >= episode.seconds) show(0);
    playing = true;
    last = performance.now();
    at("play").textContent = "\u25AE\u25AE";
    at("play").setAttribute("aria-label", "pause");
    requestAnimationFrame(tick);
  }
  function tick(now) {
    if (!playing) return;
    const moment = t + Math.max(0, (now - last) / 1000) * speed;
    last = now;
    show(moment);
    if (t >= episode.seconds) pause(); else requestAnimationFrame(tick);
  }
  function open(number, moment) {
    pause();
    episode = data.episodes[number];
    if (!episode.unpacked) unpackEpisode(episode);
    at("episode").selectedIndex = number;
    at("seek").max = episode.seconds;
    steps = stepTimes(episode);
    t = moment;
    draw();
  }
  function draw() {
    for (const id of ["cameras", "tokens", "thoughts", "timeline", "plots"]) at(id).replaceChildren();
    const fast = episode.fast ? fastPanel(episode, data) : null;
    at("about").replaceChildren(...aboutEpisode(episode));
    const cameras = episode.cameras.map(cameraView);
    at("cameras").append(...cameras.map((camera) => camera.node));
    const notes = episode.notes.map((note) => element("li", {}, note));
    at("remarks").replaceChildren(...(notes.length ? [element("ul", {class: "notes"}, ...notes)] : []));
    moving = [...cameras];
    if (episode.thoughts.length) {
      const thoughts = thoughtList(episode, seek);
      at("thoughts").append(element("h3", {}, "what the policy thought"), thoughts.node);
      moving.push(thoughts);
    }
    const lines = episode.timeline ?? data.timeline;
    if (lines) {
      const chart = timelineChart(lines, episode, episode.timeline ? 0 : episode.timeline_s, seek);
      at("timeline").append(...chart.nodes);
      moving.push(chart);
    }
    if (fast) { at("tokens").append(...fast.nodes); moving.push(fast); }
    at("columns").classList.toggle("wide", !cameras.length && !fast);
    moving.push(...plotGroups(at("plots"), {episode, fast, seek}));
    show(t);
  }
  function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const number = data.episodes.findIndex((one) => one.id === wanted.get("episode"));
    open(Math.max(0, number), Number(wanted.get("t")) || 0);
  }

  at("episode").append(...episodeOptions(data.episodes));
  at("episode").addEventListener("change", (event) => { open(event.target.selectedIndex, 0); seek(0); });
  at("play").addEventListener("click", () => (playing ? pause() : play()));
  at("back").addEventListener("click", () => seek(stepTo(steps, t, -1)));
  at("forward").addEventListener("click", () => seek(stepTo(steps, t, 1)));
  at("seek").addEventListener("input", (event) => seek(Number(event.target.value)));
  at("speed").addEventListener("change", (event) => { speed = Number(event.target.value); });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.altKey || event.metaKey) return;
    const box = at("player").getBoundingClientRect();
    if (box.bottom < 0 || box.top > window.innerHeight) return;  // elsewhere the keys scroll
    const keys = {
      ArrowLeft: () => seek(stepTo(steps, t, -1)), ArrowRight: () => seek(stepTo(steps, t, 1)),
      Home: () => seek(0), End: () => seek(episode.seconds),
    };
    if (event.key === " " && !["BUTTON", "SUMMARY"].includes(event.target.tagName)) keys[" "] = () => (playing ? pause() : play());
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  window.addEventListener("hashchange", () => {
    if (!new URLSearchParams(location.hash.slice(1)).has("episode")) return;
    follow();
    at("player").scrollIntoView();
  });
  let width = 0, waiting = 0;
  new ResizeObserver(() => {
    if (at("plots").clientWidth === width) return;
    width = at("plots").clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(draw, 100);
  }).observe(at("plots"));
  at("player").hidden = false;
  width = at("plots").clientWidth;
  follow();
}

if (typeof document !== "undefined") {
  const found = JSON.parse(document.getElementById("data").textContent);
  if (found.episodes.length) startPlayer(found);
}
