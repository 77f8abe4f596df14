"use strict";
// SVG plots and the lines of the topics. Texts from a recording only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

/** A new element with attributes and children (elements or texts). */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

/** The same of SVG. */
function drawing(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Lets clicks and drags in `svg` seek; `timeOf` turns a share of its width into seconds. */
function seekable(svg, timeOf, seek) {
  const go = (event) => {
    const box = svg.getBoundingClientRect();
    seek(timeOf((event.clientX - box.left) / box.width));
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    go(event);
  });
  svg.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
}

const MARGIN = {left: 50, right: 10, top: 5, bottom: 17};
const HEIGHT = 92;

/** The marks of the time axis, the last one with the unit. */
function timeMarks(svg, seconds, x, bottom, top, most) {
  const marks = ticks(0, seconds, most);
  const texts = tickTexts(marks);
  marks.forEach((mark, i) => {
    svg.append(drawing("line", {class: "grid", x1: x(mark), x2: x(mark), y1: top, y2: bottom}));
    // At the ends the words stay inside of the plot: clear of its border, and of the numbers beside it.
    const anchor = mark > 0.95 * seconds ? "end" : mark < 0.02 * seconds ? "start" : "middle";
    const label = drawing("text", {x: x(mark), y: bottom + 12, "text-anchor": anchor});
    label.textContent = texts[i] + (i === marks.length - 1 ? " s" : "");
    svg.append(label);
  });
}

/**
 * One plot. Returns {node, move(t)}.
 *
 * context: {episode, width, seek, fast: {values(d), ...} or null}; group and plot as in the data.
 */
function plotChart(plot, group, context) {
  const {episode, width, seek} = context;
  const right = width - MARGIN.right, bottom = HEIGHT - MARGIN.bottom;
  const seconds = episode.seconds || 1;
  const shown = yRange(plot, group.kind === "action");
  const marks = ticks(shown.low, shown.high, 3.5), texts = tickTexts(marks);
  const left = Math.max(MARGIN.left, labelWidth(texts) + 8);
  const x = (t) => left + (t / seconds) * (right - left);
  const y = (v) => bottom - ((v - shown.low) / (shown.high - shown.low)) * (bottom - MARGIN.top);
  const svg = drawing("svg", {viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img",
    "aria-label": `${plot.name} in ${plot.unit} over time in s`});
  timeMarks(svg, seconds, x, bottom, MARGIN.top, Math.max(2, width / 90));
  for (const [i, mark] of marks.entries()) {
    svg.append(drawing("line", {class: "grid", x1: left, x2: right, y1: y(mark), y2: y(mark)}));
    const label = drawing("text", {x: left - 5, y: y(mark) + 3.5, "text-anchor": "end"});
    label.textContent = texts[i];
    svg.append(label);
  }
  svg.append(drawing("rect", {class: "frame", x: left, y: MARGIN.top,
    width: right - left, height: bottom - MARGIN.top}));
  for (const limit of shown.limits) {
    svg.append(drawing("line", {class: "limit", x1: left, x2: right, y1: y(limit), y2: y(limit)}));
  }
  plot.lines.forEach((line, number) => {
    const drawn = curve(line, x, y, group.gap_s ?? Infinity, group.held);
    if (!number) {
      for (const [from, to] of drawn.gaps) {
        svg.append(drawing("rect", {class: "gap", x: x(from), width: Math.max(1, x(to) - x(from)),
          y: MARGIN.top, height: bottom - MARGIN.top}));
      }
    }
    svg.append(drawing("path", {class: number ? "line second" : "line", d: drawn.path}));
    for (const [cx, cy] of drawn.dots) svg.append(drawing("circle", {class: "dot", cx, cy, r: 1.8}));
  });
  const overlay = group.kind === "action" && context.fast ? context.fast.overlay(plot.name, x, (v) => Math.min(Math.max(y(v), MARGIN.top), bottom)) : null;
  if (overlay) svg.append(overlay.still, overlay.moving);
  const cursor = drawing("line", {class: "cursor", y1: MARGIN.top, y2: bottom});
  svg.append(cursor);
  seekable(svg, (share) => ((share * width - left) / (right - left)) * seconds, seek);

  const reading = element("span", {class: "reading"});
  const head = element("div", {class: "plot-head"}, element("span", {class: "name"}, plot.name),
    element("span", {class: "small"}, `[${plot.unit}]`), limitWords(plot, shown), reading);
  return {
    node: element("div", {class: "plot"}, head, svg),
    move(t) {
      cursor.setAttribute("x1", x(t));
      cursor.setAttribute("x2", x(t));
      overlay?.move(t);
      reading.textContent = plot.lines.map((line) => {
        const i = indexAt(line.t, t);
        return `${line.label} ${i < 0 ? "–" : short(line.v[i])}`.trim();
      }).join("   ");
    },
  };
}

/** What is said about a plot's limits and faults beside its name. */
function limitWords(plot, shown) {
  const words = element("span", {class: "small"});
  if (plot.limits) {
    const beyond = shown.limits.length < plot.limits.filter(Number.isFinite).length ? ", out of view" : "";
    words.append(`limits ${short(plot.limits[0])} … ${short(plot.limits[1])}${beyond}`);
  }
  if (plot.outside) words.append(element("b", {class: "bad"}, ` outside: ${plot.outside}`));
  if (plot.not_finite) words.append(element("b", {class: "bad"}, ` ${plot.not_finite} not finite`));
  return words;
}

/** The lines of the topics. Returns {nodes, move(t)}. */
function timelineChart(timeline, episode, offset, seek) {
  const nodes = [], cursors = [], total = timeline.seconds || 1, span = 1000;
  const x = (t) => (t / total) * span;
  for (const row of timeline.rows) {
    const svg = drawing("svg", {viewBox: `0 0 ${span} 16`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${row.name}: ${row.count} messages, ${row.gaps.length} gaps`});
    for (const [full, from, to] of runs(fullness(row.density))) {
      const bin = span / row.density.length;
      if (full) svg.append(drawing("rect", {class: "present", x: from * bin, width: (to - from) * bin,
        y: 4, height: 8, opacity: full}));
    }
    for (const [from, length] of row.gaps) {
      const mark = drawing("rect", {class: "gap strong", x: x(from), width: Math.max(2, x(length)), y: 1, height: 14,
        opacity: 0.75});
      const title = drawing("title");
      title.textContent = `gap of ${short(length)} s at ${short(from)} s`;
      mark.append(title);
      svg.append(mark);
    }
    const end = -offset + episode.seconds;
    if (-offset > 0.002 * total) svg.append(drawing("rect", {class: "other", x: 0, width: x(-offset), y: 0, height: 16}));
    if (end < 0.998 * total) svg.append(drawing("rect", {class: "other", x: x(end), width: span - x(end), y: 0, height: 16}));
    const cursor = drawing("line", {class: "cursor", y1: 0, y2: 16, "vector-effect": "non-scaling-stroke"});
    svg.append(cursor);
    cursors.push(cursor);
    seekable(svg, (share) => share * total + offset, seek);
    const rate = row.rate_hz === null ? `${row.count} ×` : `${Number(row.rate_hz.toPrecision(3))} Hz`;
    const expected = row.expected_hz ? ` of ${short(row.expected_hz)}` : "";
    const gaps = row.gaps.length ? `, ${row.gaps.length} gap${row.gaps.length > 1 ? "s" : ""}` : "";
    const words = row.faults.join("; ");
    nodes.push(element("div", {class: "stream", title: [row.name, row.role, words].filter(Boolean).join(" · ")},
      element("span", {class: "name"}, element("bdi", {}, row.name)), svg,
      element("span", {class: row.faults.length ? "rate bad" : "rate"}, rate + expected + gaps)));
  }
  nodes.push(element("div", {class: "stream axis small"}, element("span"), axisWords(total, span),
    element("span", {class: "rate"}, "time [s]")));
  return {
    nodes,
    move(t) {
      const at = x(Math.min(Math.max(t - offset, 0), total));
      for (const cursor of cursors) { cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); }
    },
  };
}

/** The time axis below the lines of the topics, in seconds from the first message. */
function axisWords(total, span) {
  const axis = element("div", {class: "axis-words"});
  const marks = ticks(0, total, 8), texts = tickTexts(marks);
  for (const [i, mark] of marks.entries()) {
    const word = element("span", {}, texts[i]);
    word.style.left = `${(mark / total) * 100}%`;
    word.style.transform = `translateX(${-(mark / total) * 100}%)`;  // the last one stays inside
    axis.append(word);
  }
  return axis;
}
