"use strict";
// FAST: the tokens of the chunk at the playhead, their numbers over the episode, the reconstruction.

/**
 * The panel of an episode with tokens, and what its plots draw of the reconstruction.
 *
 * Returns {nodes, move(t), overlay(name, x, y)}; data is that of the page.
 */
function fastPanel(episode, data) {
  const {fast} = episode;
  const dims = data.dims.map(([name]) => name);
  const names = data.dims;
  const period = data.rate_hz ? 1 / data.rate_hz : 0;
  const values = (i, d) => chunkValues(fast.decoded, i, d, data.horizon, dims.length);
  const times = (i) => Array.from({length: data.horizon}, (_, s) => fast.times[i] + s * period);
  const title = element("h3"), ids = element("div", {class: "ids"});
  const bars = lengthBars(fast);
  const shown = fast.step === 1 ? "" : ` (one in ${fast.step} of ${fast.chunks} chunks is shown with tokens and curve)`;
  const nodes = [
    title, ids,
    element("p", {class: "small"}, `chunks of ${data.horizon} steps, ${fast.chunks} in the episode${shown}`),
    errorTable(fast, names),
    element("h3", {}, "tokens in a chunk"), bars.node,
    element("h3", {}, "most frequent tokens"),
    element("div", {class: "ids"}, ...fast.ids.map(([id, count]) => element("span", {}, `${id} × ${count}`))),
    element("p", {class: "small"}, `${fast.ids_used} different tokens, ${fast.ids_total} in all`),
  ];
  if (fast.fault_count) nodes.splice(2, 0, chunkFaults(fast));
  let now = -2;
  return {
    nodes,
    move(t) {
      const i = Math.max(0, indexAt(fast.times, t));
      if (i === now || !fast.times.length) return;
      now = i;
      const tokens = fast.tokens[i];
      title.textContent = `chunk at ${fast.times[i].toFixed(2)} s: `
        + (tokens ? `${tokens.length} tokens` : "no tokens");
      ids.replaceChildren(...(tokens ?? []).map((id) => element("span", {}, String(id))));
      bars.mark(tokens ? tokens.length : null);
    },
    overlay(name, x, y) {
      const d = dims.indexOf(name);
      if (d < 0) return null;
      const path = (i) => {
        const v = values(i, d), t = times(i).filter((time) => time <= episode.seconds + 1e-6);
        return v ? curve({t, v}, x, y, Infinity, false).path : "";
      };
      const all = chunkAfterChunk(fast.times.length, fast.step, data.horizon).map(path).join("");
      const still = drawing("path", {class: "fast", d: all});
      const moving = drawing("path", {class: "chunk"});
      return {
        still, moving,
        move(t) {
          const i = Math.max(0, indexAt(fast.times, t));
          moving.setAttribute("d", fast.times.length ? path(i) : "");
        },
      };
    },
  };
}

/** Chunks without tokens, with the reasons. */
function chunkFaults(fast) {
  const rows = fast.faults.map(([time, why]) => element("li", {}, `at ${short(time)} s: ${why}`));
  const more = fast.fault_count - fast.faults.length;
  if (more > 0) rows.push(element("li", {}, `and ${more} more`));
  return element("div", {class: "faults"}, `${fast.fault_count} of ${fast.chunks} chunks have no tokens`,
    element("ul", {}, ...rows));
}

/** Error of each dimension over all chunks of the episode. */
function errorTable(fast, dims) {
  const body = fast.errors.map(([rms, most, at], d) => element("tr", {},
    element("td", {}, `${dims[d][0]} [${dims[d][1]}]`), element("td", {}, short(rms)),
    element("td", {}, short(most)), element("td", {}, at === null ? "–" : at.toFixed(2))));
  return element("table", {class: "number"},
    element("caption", {class: "small"}, "FAST reconstruction, error over all chunks"),
    element("thead", {}, element("tr", {}, element("th", {scope: "col"}, "dimension"),
      element("th", {scope: "col"}, "RMS"), element("th", {scope: "col"}, "greatest"),
      element("th", {scope: "col"}, "at [s]"))),
    element("tbody", {}, ...body));
}

/** How many chunks have how many tokens, as bars. Returns {node, mark(length)}. */
function lengthBars(fast) {
  const width = 300, height = 84, bottom = height - 16;
  const svg = drawing("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": "number of chunks over tokens in a chunk"});
  svg.style.cursor = "default";
  const most = Math.max(1, ...fast.lengths.map(([, count]) => count));
  const left = Math.max(26, labelWidth([String(most)]) + 6);
  const low = fast.lengths.length ? fast.lengths[0][0] : 0;
  const high = fast.lengths.length ? fast.lengths[fast.lengths.length - 1][0] : 1;
  const slot = (width - left - 4) / (high - low + 1);
  const bars = new Map();
  for (const [length, count] of fast.lengths) {
    const tall = (count / most) * (bottom - 6);
    const bar = drawing("rect", {class: "bar", x: left + (length - low) * slot + slot * 0.1,
      width: Math.max(1, slot * 0.8), y: bottom - tall, height: tall});
    const title = drawing("title");
    title.textContent = `${count} chunks of ${length} tokens`;
    bar.append(title);
    bars.set(length, bar);
    svg.append(bar);
  }
  const mark = (x, y, text, anchor) => {
    const label = drawing("text", {x, y, "text-anchor": anchor});
    label.textContent = text;
    svg.append(label);
  };
  mark(left - 4, 12, String(most), "end");
  mark(left - 4, bottom, "0", "end");
  for (const tick of ticks(low, high, 5).filter(Number.isInteger)) {
    mark(left + (tick - low + 0.5) * slot, height - 3, String(tick), "middle");
  }
  return {
    node: svg,
    mark(length) {
      for (const [key, bar] of bars) bar.setAttribute("class", key === length ? "bar now" : "bar");
    },
  };
}
