"use strict";
// Draws every figure of a page from its data, in the page's own colours, again when those change.

const Page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly reads a few tags and entities in its texts; a record's text must be shown as it is.
  const literal = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (i) => css(`--c${i % 8}`);
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

  function layout(more) {
    const ink = css("--ink"), grid = css("--line"), quiet = css("--quiet");
    const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickcolor: grid, automargin: true,
                   title: { font: { size: 13, color: quiet } }, tickfont: { color: quiet, size: 12 } };
    const { xaxis = {}, yaxis = {}, ...rest } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 8, r: 8, t: 8, b: 8, autoexpand: true },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: 12 } },
      hoverlabel: { bgcolor: css("--card"), bordercolor: quiet, font: { color: ink, size: 13 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink },
      dragmode: false,
      ...rest,
      xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
    };
  }

  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false, doubleClick: false };

  function traces(figure) {
    const out = [], value = (v) => (figure.percent ? `${short(100 * v)} %` : short(v));
    figure.curves.forEach((curve, i) => {
      const c = colour(figure.colours[i]), name = literal(curve.name), labels = figure.labels[curve.name] || [];
      const spread = curve.low && curve.low.length === curve.x.length && curve.high.length === curve.x.length;
      const text = curve.x.map((x, j) => {
        const range = spread ? ` [${value(curve.low[j])}, ${value(curve.high[j])}]` : "";
        return [name, labels[j] && literal(labels[j]), `${literal(figure.x)}: ${literal(short(x))}`,
                `${literal(figure.y)}: ${value(curve.y[j])}${range}`].filter(Boolean).join("<br>");
      });
      const shared = { name, legendgroup: String(i), hovertext: text, hoverinfo: "text" };
      const positions = curve.x.map((x) => (typeof x === "string" ? literal(x) : x));
      const error = spread && { type: "data", symmetric: false, color: css("--ink"), thickness: 1.2, width: 3,
        array: curve.high.map((h, j) => h - curve.y[j]), arrayminus: curve.low.map((l, j) => curve.y[j] - l) };
      if (curve.kind === "bars") {
        const bar = figure.horizontal ? { x: curve.y, y: positions, orientation: "h" } : { x: positions, y: curve.y };
        const whiskers = error ? (figure.horizontal ? { error_x: error } : { error_y: error }) : {};
        out.push({ type: "bar", ...bar, ...whiskers, ...shared,
                   marker: { color: c, pattern: { shape: ["", "/", ".", "x"][i % 4], fillmode: "overlay", fgcolor: css("--card"), fgopacity: 0.5, size: 7, solidity: 0.25 } } });
      } else if (curve.kind === "points") {
        out.push({ type: "scatter", mode: "markers", x: positions, y: curve.y, ...shared, ...(error ? { error_y: { ...error, color: c } } : {}),
                   marker: { color: c, size: 8, symbol: SYMBOLS[i % 8], line: { color: css("--paper"), width: 1 } } });
      } else {
        if (spread && curve.x.length > 1) {
          out.push({ type: "scatter", mode: "lines", x: positions.concat([...positions].reverse()), y: curve.high.concat([...curve.low].reverse()),
                     fill: "toself", fillcolor: c, opacity: 0.18, line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: String(i) });
        }
        const many = curve.x.length > 30;
        out.push({ type: "scatter", mode: many ? "lines" : "lines+markers", x: positions, y: curve.y, ...shared,
                   ...(spread && curve.x.length === 1 ? { error_y: { ...error, color: c } } : {}),
                   line: { color: c, width: 2.2, dash: DASHES[i % 6] }, marker: { color: c, size: 7, symbol: SYMBOLS[i % 8] },
                   ...shaded(figure, curve.name) });
      }
    });
    return out;
  }

  // A path: its points go from light to dark, and a few of them have names.
  function shaded(figure, name) {
    const shades = figure.shades[name], named = figure.named[name] || {};
    if (!shades) return {};
    return {
      mode: "lines+markers+text", line: { color: css("--other"), width: 1.5 }, cliponaxis: false,
      text: shades.map((_, j) => (named[j] ? `<b>${literal(named[j])}</b>` : "")), textposition: "top center", textfont: { color: css("--ink"), size: 13 },
      marker: { color: shades, colorscale: [[0, css("--shade-low")], [1, css("--shade-high")]], size: 11, symbol: "circle", line: { color: css("--ink"), width: 1 },
                showscale: shades.length > 1, colorbar: { title: { text: literal(figure.shade), side: "top", font: { size: 12, color: css("--quiet") } }, thickness: 10, len: 0.8, outlinewidth: 0, tickfont: { size: 11, color: css("--quiet") } } },
    };
  }

  // Vertical lines with a word at their top.
  function marked(figure) {
    const held = Object.entries(figure.marks);
    return {
      shapes: held.map(([, x]) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: css("--bad"), width: 1.5, dash: "dot" } })),
      annotations: held.map(([words, x], i) => ({ text: literal(words), x, xanchor: "right", xshift: -3, yref: "paper", y: 1, yanchor: "top", yshift: -15 * (i % 2), showarrow: false, font: { color: css("--bad"), size: 12 } })),
    };
  }

  function short(value) {
    if (typeof value !== "number") return value === null || value === undefined ? "–" : value;
    return Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  }

  // A title longer than its axis is cut off by the browser: two lines where a blank is near the middle.
  function titled(text) {
    if (text.length < 30) return literal(text);
    const blanks = [...text.matchAll(/ /g)].map((match) => match.index);
    const at = blanks.sort((a, b) => Math.abs(a - text.length / 2) - Math.abs(b - text.length / 2))[0];
    return at === undefined ? literal(text) : `${literal(text.slice(0, at))}<br>${literal(text.slice(at + 1))}`;
  }

  function draw(box) {
    const figure = data.figures[box.dataset.figure];
    if (!figure) return;
    const values = { title: { text: titled(figure.y), standoff: 8 }, type: figure.log_y ? "log" : undefined };
    const places = { title: { text: titled(figure.x), standoff: 8 }, type: figure.log_x ? "log" : undefined };
    const bars = figure.curves.some((c) => c.kind === "bars");
    if (bars) values.rangemode = "tozero";
    if (figure.percent) values.tickformat = "~%";
    for (const [axis, log, key] of [[values, figure.log_y, "y"], [places, figure.log_x, "x"]]) {
      if (!log) continue;
      const held = figure.curves.flatMap((c) => c[key]).filter((v) => v > 0);
      const decades = Math.log10(Math.max(...held) / Math.min(...held));
      if (decades > 1.5) axis.dtick = 1;
      axis.exponentformat = "power";
    }
    if (figure.horizontal) {
      const names = Math.max(1, ...figure.curves.map((c) => c.x.length));
      box.style.height = `${Math.max(240, 90 + 40 * names)}px`;
      places.autorange = "reversed";
      delete places.title;
    }
    const axes = figure.horizontal ? { xaxis: values, yaxis: places } : { xaxis: places, yaxis: values };
    Plotly.react(box, traces(figure), layout({ ...axes, ...marked(figure), barmode: "group", bargap: 0.25, showlegend: figure.curves.length > 1 }), CONFIG);
    box.dataset.drawn = "yes";
  }

  // A page may hold a hundred figures: each is drawn when it comes near the screen.
  const drawn = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      drawn.add(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll("[data-figure]").forEach((box) => watcher.observe(box));

  const listeners = [];
  function redraw() {
    drawn.forEach(draw);
    listeners.forEach((listener) => listener());
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light"; // ink on paper
    document.querySelectorAll("[data-figure]").forEach((box) => drawn.add(box));
    redraw();
  });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(); });

  return { data, css, literal, colour, layout, short, SYMBOLS, onTheme: (listener) => listeners.push(listener) };
})();
