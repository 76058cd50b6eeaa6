"use strict";
// The map of a curation page: filters, search, and the record behind a point.

(() => {
  const map = Page.data.map;
  const { css, literal, colour, short } = Page;
  const $ = (id) => document.getElementById(id);
  const plot = $("map-plot");
  const n = map.x.length;
  const LEGEND = 7;                                   // groups with a colour of their own; the rest share grey
  const touch = matchMedia("(pointer: coarse)").matches;

  // Largest groups first; a colour each.
  const sizes = map.group_names.map((name, code) => ({ code, name, size: 0 }));
  map.group.forEach((code) => { sizes[code].size += 1; });
  sizes.sort((a, b) => b.size - a.size || a.code - b.code);
  const slotOf = new Array(sizes.length).fill(-1);
  const named = sizes.length <= LEGEND + 1 ? sizes.length : LEGEND;
  sizes.forEach((group, i) => { slotOf[group.code] = i < named ? i : -1; });
  const slot = (i) => (map.group.length ? slotOf[map.group[i]] : 0);
  const slots = sizes.slice(0, named).map((g, i) => ({ key: i, name: g.name, size: g.size }));
  if (named < sizes.length) {
    const rest = sizes.slice(named);
    slots.push({ key: -1, name: `${rest.length} smaller groups`, size: rest.reduce((t, g) => t + g.size, 0) });
  }

  const state = { hidden: new Set(), chosenOnly: false, words: [], colour: $("colour").value, selected: -1 };
  const lower = map.texts.map((text) => text.toLowerCase());

  const visible = (i) => !(state.chosenOnly && !map.order[i]) && !state.hidden.has(slot(i));
  const found = (i) => state.words.length > 0 && lower.length > 0 && state.words.every((w) => lower[i].includes(w));

  function colours(indices) {
    if (state.colour === "quality") {
      const low = Math.min(...map.quality), high = Math.max(...map.quality);
      return { color: indices.map((i) => map.quality[i]), colorscale: "Cividis", cmin: low, cmax: high };
    }
    if (state.colour === "choice") return { color: indices.map((i) => (map.order[i] ? css("--c1") : css("--other"))) };
    return { color: indices.map((i) => (slot(i) < 0 ? css("--other") : colour(slot(i)))) };
  }

  function trace(indices, marker, extra = {}) {
    return {
      type: "scatter", mode: "markers", x: indices.map((i) => map.x[i]), y: indices.map((i) => map.y[i]), customdata: indices,
      hovertext: indices.map(hover), hoverinfo: "text", marker, ...extra,
    };
  }

  function hover(i) {
    const text = map.texts.length ? map.texts[i].slice(0, 160).replace(/\s+/g, " ") : "";
    const lines = text.match(/.{1,46}(\s|$)|.{1,46}/g) || [];
    const head = `row ${short(map.row[i])}${map.group.length ? ` · ${literal(map.group_names[map.group[i]])}` : ""}${map.order[i] ? " · chosen" : ""}`;
    return [head, ...lines.map(literal)].join("<br>");
  }

  function draw() {
    const rest = [], chosen = [], hits = [];
    for (let i = 0; i < n; i += 1) {
      if (!visible(i)) continue;
      (map.order[i] ? chosen : rest).push(i);
      if (found(i)) hits.push(i);
    }
    const dim = state.words.length ? 0.35 : 1;
    const scale = state.colour === "quality" ? { showscale: true, colorbar: { title: { text: "quality", side: "right" }, thickness: 10, outlinewidth: 0, tickfont: { color: css("--quiet") } } } : {};
    const traces = [
      trace(rest, { size: n > 1500 ? 4 : 6, opacity: 0.4 * dim, ...colours(rest), ...(chosen.length ? {} : scale) }),
      trace(chosen, { size: n > 1500 ? 7 : 9, opacity: dim, line: { color: css("--ink"), width: 1 }, ...colours(chosen), ...(chosen.length ? scale : {}) }),
      // A few hits are ringed; many would hide one another, so they are filled.
      trace(hits, hits.length > 60
        ? { size: 6, color: css("--found"), opacity: 0.75 }
        : { size: 13, color: "rgba(0,0,0,0)", line: { color: css("--found"), width: 2.5 } }),
    ];
    if (state.selected >= 0 && visible(state.selected)) {
      traces.push(trace([state.selected], { size: 20, color: "rgba(0,0,0,0)", symbol: "circle", line: { color: css("--ink"), width: 3 } }, { hoverinfo: "skip" }));
    }
    const axis = { showgrid: true, zeroline: false, showticklabels: false, ticks: "" };
    const layout = Page.layout({ xaxis: axis, yaxis: { ...axis }, showlegend: false, hovermode: "closest", dragmode: touch ? false : "pan", uirevision: "map" });
    const config = { responsive: true, displaylogo: false, displayModeBar: true, scrollZoom: !touch, doubleClick: "reset",
                     modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]] };
    const ready = Plotly.react(plot, traces, layout, config);
    plot.dataset.points = String(rest.length + chosen.length);
    plot.dataset.found = String(hits.length);
    tell(rest.length + chosen.length, chosen.length, hits);
    return ready;
  }

  function tell(shown, chosen, hits) {
    const parts = [`${short(shown)} of ${short(n)} points shown, ${short(chosen)} of them chosen.`];
    if (state.words.length) parts.push(hits.length ? `${short(hits.length)} match “${$("search").value.trim()}”.` : `Nothing matches “${$("search").value.trim()}”.`);
    $("status").textContent = parts.join(" ");
    const list = $("found-list");
    list.replaceChildren();
    $("found").hidden = hits.length === 0;
    for (const i of hits.slice(0, 12)) {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.className = "hit";
      button.textContent = map.texts[i].replace(/\s+/g, " ").slice(0, 110);
      button.addEventListener("click", () => select(i));
      item.append(button);
      list.append(item);
    }
    if (hits.length > 12) {
      const item = document.createElement("li");
      item.className = "quiet";
      item.textContent = `and ${short(hits.length - 12)} more, marked on the map`;
      list.append(item);
    }
  }

  function select(i) {
    state.selected = i;
    const facts = [];
    if (map.group.length) facts.push(map.group_names[map.group[i]]);
    if (map.quality.length) facts.push(`quality ${short(map.quality[i])}`);
    $("panel-title").textContent = `Row ${short(map.row[i])}`;
    const verdict = $("panel-verdict");
    verdict.hidden = false;
    verdict.className = `verdict ${map.order[i] ? "yes" : "no"}`;
    verdict.textContent = map.order[i] ? `Chosen, number ${short(map.order[i])}` : "Not chosen";
    $("panel-facts").textContent = facts.join(" · ");
    $("panel-reason").textContent = map.reasons.length ? map.reasons[i] : "";
    const text = $("panel-text");
    text.hidden = !map.texts.length;
    text.replaceChildren();
    if (map.texts.length) marked(text, map.texts[i]);
    text.scrollTop = 0;
    draw();
    if (innerWidth < 900) $("panel").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  // The text with what was searched for set off; built from text nodes, so that nothing in it is read as markup.
  function marked(box, text) {
    if (!state.words.length) { box.textContent = text; return; }
    const escaped = state.words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    text.split(new RegExp(`(${escaped.join("|")})`, "gi")).forEach((part, j) => {
      if (j % 2) {
        const mark = document.createElement("mark");
        mark.textContent = part;
        box.append(mark);
      } else box.append(part);
    });
  }

  // Chosen rows in order of choice, then the others by row: the order in which the arrows walk.
  const walk = Array.from({ length: n }, (_, i) => i).sort((a, b) => (map.order[a] || Infinity) - (map.order[b] || Infinity) || map.row[a] - map.row[b]);
  function step(by) {
    const able = walk.filter((i) => visible(i) && (!state.words.length || found(i)));
    if (!able.length) return;
    const at = able.indexOf(state.selected);
    select(able[at < 0 ? (by > 0 ? 0 : able.length - 1) : (at + by + able.length) % able.length]);
  }
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("panel").addEventListener("keydown", (event) => {
    if (event.target === $("panel-text")) return;
    if (event.key === "ArrowRight") { step(1); event.preventDefault(); }
    if (event.key === "ArrowLeft") { step(-1); event.preventDefault(); }
  });

  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      draw();
    }, 120);
  });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("colour").addEventListener("change", () => { state.colour = $("colour").value; chips(); draw(); });
  $("chosen-only").addEventListener("change", () => { state.chosenOnly = $("chosen-only").checked; draw(); });

  function chips() {
    const box = $("groups");
    box.querySelectorAll("button").forEach((button) => button.remove());
    box.hidden = slots.length < 2;
    for (const group of slots) {
      const button = document.createElement("button"), dot = document.createElement("span");
      button.type = "button";
      button.className = "chip";
      button.dataset.group = group.name;
      button.setAttribute("aria-pressed", String(!state.hidden.has(group.key)));
      dot.className = "dot";
      dot.style.background = state.colour === "group" && group.key >= 0 ? `var(--c${group.key % 8})` : "var(--other)";
      button.append(dot, ` ${group.name} `);
      const count = document.createElement("span");
      count.className = "quiet";
      count.textContent = short(group.size);
      button.append(count);
      button.addEventListener("click", () => {
        if (!state.hidden.delete(group.key)) state.hidden.add(group.key);
        button.setAttribute("aria-pressed", String(!state.hidden.has(group.key)));
        draw();
      });
      box.append(button);
    }
  }

  chips();
  draw();
  plot.on("plotly_click", (event) => select(event.points[0].customdata));
  Page.onTheme(draw);
  plot.dataset.ready = "yes";
})();
