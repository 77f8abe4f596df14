"use strict";
// Numbers and shapes, without a document: also run by the tests.

/** base64 of little-endian float32 to a Float32Array. */
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({length: bytes.length / 4}, (_, i) => view.getFloat32(4 * i, true));
}

/** How far a float32 may be from the time that it stands for, s. */
function slack(t) {
  return Math.max(1e-6, Math.abs(t) * 2e-7);
}

/** Index of the newest of rising `times` at or before `t`; -1 where there is none. */
function indexAt(times, t) {
  const latest = t + slack(t);
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= latest) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/** The next (direction 1) or previous (-1) of rising `times`; the end where there is none. */
function stepTo(times, t, direction) {
  if (!times.length) return t;
  let i = indexAt(times, t);
  if (direction > 0) i += 1;
  else if (i >= 0 && Math.abs(times[i] - t) <= slack(t)) i -= 1;
  return times[Math.min(Math.max(i, 0), times.length - 1)];
}

/** The times that the arrow keys stop at: those of all images, else of the first curve. */
function stepTimes(episode) {
  let lists = episode.cameras.map((camera) => camera.times);
  if (!lists.some((times) => times.length)) {
    const plots = episode.groups.flatMap((group) => group.plots);
    lists = plots.length ? [plots[0].lines[0].t] : [];
  }
  return Float64Array.from(new Set(lists.flatMap((times) => Array.from(times)))).sort();
}

/** Round numbers between low and high, at most about `most`. */
function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

/** A number in at most four digits. */
function short(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace(/-/g, "−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

/** The texts of ticks: as many decimals as tell them apart. */
function tickTexts(marks) {
  const step = marks.length > 1 ? marks[1] - marks[0] : 0;
  const decimals = step > 0 ? Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)) : 9;
  return marks.map((mark) => (decimals > 6 ? short(mark) : mark.toFixed(decimals).replace("-", "−")));
}

/** Pixels that the longest of some numbers takes in the plots' small letters. */
function labelWidth(texts) {
  return 6.2 * Math.max(0, ...texts.map((text) => text.length));
}

/** Least and greatest finite number of several arrays, or null. */
function extent(arrays) {
  let low = Infinity, high = -Infinity;
  for (const array of arrays) {
    for (const value of array) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * What a plot shows of the y axis, and which of its limits are in it. A limit is taken in where
 * the data would not shrink to less than a third of the height, and always for actions.
 */
function yRange(plot, always) {
  const data = extent(plot.lines.map((line) => line.v)) ?? plot.limits ?? [0, 1];
  let [low, high] = data;
  const limits = [];
  const room = Math.max(high - low, 1e-9);
  for (const limit of plot.limits ?? []) {
    if (!Number.isFinite(limit)) continue;
    if (always || (limit >= low - room && limit <= high + room)) {
      low = Math.min(low, limit);
      high = Math.max(high, limit);
      limits.push(limit);
    }
  }
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) {
    const pad = Math.abs(high) > 1e-6 ? Math.abs(high) * 0.05 : 1;
    return {low: low - pad, high: high + pad, limits};
  }
  const pad = (high - low) * 0.06;
  return {low: low - pad, high: high + pad, limits};
}

/**
 * The path of a curve, and the gaps in it.
 *
 * line: {t, v}; x, y: functions to pixels; gap: seconds between two points that break the curve;
 * held: a value stays in force until the next one. A point alone between gaps becomes a dot.
 */
function curve(line, x, y, gap, held) {
  const parts = [], gaps = [], dots = [];
  let run = 0;
  const close = (i) => { if (run === 1) dots.push([x(line.t[i]), y(line.v[i])]); run = 0; };
  for (let i = 0; i < line.t.length; i += 1) {
    if (!Number.isFinite(line.v[i])) { if (i) close(i - 1); continue; }
    if (i && line.t[i] - line.t[i - 1] > gap) {
      close(i - 1);
      gaps.push([line.t[i - 1], line.t[i]]);
    }
    const px = x(line.t[i]).toFixed(1), py = y(line.v[i]).toFixed(1);
    if (!run) parts.push(`M${px} ${py}`);
    else parts.push(held ? `H${px}V${py}` : `L${px} ${py}`);
    run += 1;
  }
  if (line.t.length) close(line.t.length - 1);
  return {path: parts.join(""), gaps, dots};
}

/** Runs of equal value: [value, first, one past the last]. */
function runs(values) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    const last = found[found.length - 1];
    if (last && last[0] === values[i]) last[2] = i + 1;
    else found.push([values[i], i, i + 1]);
  }
  return found;
}

/** How full each bin is, 0 to 1 in quarters, beside the usual full one. */
function fullness(density) {
  const filled = density.filter((count) => count > 0).sort((a, b) => a - b);
  const usual = filled.length ? filled[filled.length >> 1] : 1;
  return density.map((count) => (count ? Math.max(1, Math.min(4, Math.round((4 * count) / usual))) / 4 : 0));
}

/** Which of the shown chunks follow one another without overlap: their places in the list. */
function chunkAfterChunk(count, step, horizon) {
  const found = [];
  let free = 0;
  for (let i = 0; i < count; i += 1) {
    if (i * step >= free) {
      found.push(i);
      free = i * step + horizon;
    }
  }
  return found;
}

/** Dimension d of chunk i out of `decoded`: its values (T,), or null where it has none. */
function chunkValues(decoded, i, d, horizon, dims) {
  const values = Array.from({length: horizon}, (_, s) => decoded[(i * horizon + s) * dims + d]);
  return values.every(Number.isFinite) ? values : null;
}

if (typeof module !== "undefined") {
  module.exports = {unpack, indexAt, stepTo, stepTimes, ticks, tickTexts, short, extent, yRange, curve, runs,
    labelWidth, fullness, chunkAfterChunk, chunkValues};
}
