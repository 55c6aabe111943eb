"use strict";
// The graph, left to right: dagre places the nodes, and each is a link that a keyboard reaches.
(() => {
  const box = document.getElementById("graph");
  if (!box || !window.dagre) return;
  const NS = "http://www.w3.org/2000/svg";
  const slug = window.matview.slug;
  const marks = new Map();
  let view = { x: 0, y: 0, w: 1, h: 1 };
  let all = view;

  function make(name, attributes, parent) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }
  const short = (name) => (name.length > 30 ? `${name.slice(0, 29)}…` : name);
  const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);

  const svg = make("svg", { role: "group", "aria-label": "The graph: views and source tables from left to right" });
  box.prepend(svg);

  function zoom(factor, x = view.x + view.w / 2, y = view.y + view.h / 2) {
    const w = Math.min(Math.max(view.w * factor, 200), Math.max(all.w, box.clientWidth) * 3);
    const h = (w * box.clientHeight) / box.clientWidth;
    view = { x: x - ((x - view.x) * w) / view.w, y: y - ((y - view.y) * h) / view.h, w, h };
    show();
  }
  function fit(width, height) {
    const margin = 24;
    const scale = Math.max((width + 2 * margin) / box.clientWidth, (height + 2 * margin) / box.clientHeight, 0.8);
    const w = box.clientWidth * scale;
    const h = box.clientHeight * scale;
    all = { x: -(w - width) / 2, y: -(h - height) / 2, w, h };
    view = { ...all };
    show();
  }

  function draw(data) {
    const graph = new window.dagre.graphlib.Graph();
    graph.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 56 });
    graph.setDefaultEdgeLabel(() => ({}));
    for (const node of data.nodes) graph.setNode(node.id, { width: Math.max(130, short(node.name).length * 8.3 + 32), height: 44 });
    for (const [from, to] of data.edges) if (graph.hasNode(from) && graph.hasNode(to)) graph.setEdge(from, to);
    window.dagre.layout(graph);
    const defs = make("defs", {}, svg);
    const arrow = make("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, defs);
    make("path", { d: "M0 0L8 4L0 8z", class: "arrow" }, arrow);
    const edges = make("g", { "aria-hidden": "true" }, svg);
    const lines = [];
    for (const edge of graph.edges()) {
      const points = graph.edge(edge).points;
      let d = `M${points[0].x} ${points[0].y}`;
      for (let n = 1; n < points.length - 1; n += 1) {
        const next = points[n + 1];
        const end = n === points.length - 2 ? next : { x: (points[n].x + next.x) / 2, y: (points[n].y + next.y) / 2 };
        d += `Q${points[n].x} ${points[n].y} ${end.x} ${end.y}`;
      }
      if (points.length === 2) d += `L${points[1].x} ${points[1].y}`;
      lines.push([edge.v, edge.w, make("path", { d, class: "edge", "marker-end": "url(#arrow)" }, edges)]);
    }
    for (const node of data.nodes) addNode(node, graph.node(node.id), lines);
    const whole = graph.graph();
    fit(whole.width, whole.height);
    const start = box.dataset.start && graph.node(box.dataset.start);
    if (start && view.w > 2500) { view = { ...view, w: box.clientWidth, h: box.clientHeight }; view.x = start.x - view.w / 2; view.y = start.y - view.h / 2; show(); }
  }

  function addNode(node, at, lines) {
    const isView = node.kind === "view";
    const link = make("a", { href: `${box.dataset.base}/${isView ? "views" : "sources"}/${node.id}`, transform: `translate(${at.x - at.width / 2} ${at.y - at.height / 2})` }, svg);
    const kind = `node ${isView ? "" : "table"} ${node.id === box.dataset.start ? "start" : ""}`;
    const group = make("g", { class: `${kind} s-${slug(node.condition || "none")}` }, link);
    make("rect", { width: at.width, height: at.height, rx: 5 }, group);
    if (isView) make("rect", { class: "bar", width: 5, height: at.height, rx: 2 }, group);
    make("text", { x: 15, y: 19 }, group).textContent = short(node.name);
    const sub = make("text", { x: 15, y: 35, class: "sub" }, group);
    sub.textContent = node.condition || "Source";
    if (short(node.name) !== node.name) make("title", {}, link).textContent = node.name;
    marks.set(node.id, (condition) => { node.condition = condition; sub.textContent = condition; group.setAttribute("class", `${kind} s-${slug(condition)}`); });
    const light = (on) => { for (const [from, to, line] of lines) if (from === node.id || to === node.id) line.classList.toggle("on", on); };
    link.addEventListener("pointerenter", () => light(true));
    link.addEventListener("pointerleave", () => light(false));
    link.addEventListener("focus", () => {
      light(true);
      const out = at.x - at.width / 2 < view.x || at.x + at.width / 2 > view.x + view.w || at.y < view.y || at.y > view.y + view.h;
      if (out) { view.x = at.x - view.w / 2; view.y = at.y - view.h / 2; show(); }
    });
    link.addEventListener("blur", () => light(false));
    link.addEventListener("click", (event) => { if (moved) event.preventDefault(); });
    link.addEventListener("dragstart", (event) => event.preventDefault());
  }

  let held = null;
  let moved = false;
  const touches = new Map();
  svg.addEventListener("pointerdown", (event) => { touches.set(event.pointerId, event); held = { x: event.clientX, y: event.clientY }; moved = false; });
  window.addEventListener("pointermove", (event) => {
    if (!held || !touches.has(event.pointerId)) return;
    const before = [...touches.values()];
    touches.set(event.pointerId, event);
    const after = [...touches.values()];
    const scale = view.w / box.clientWidth;
    if (after.length === 2) {
      const span = (pair) => Math.hypot(pair[0].clientX - pair[1].clientX, pair[0].clientY - pair[1].clientY);
      zoom(span(before) / Math.max(span(after), 1));
      moved = true;
      return;
    }
    if (!moved && Math.hypot(event.clientX - held.x, event.clientY - held.y) < 4) return;
    moved = true;
    view.x -= (event.clientX - held.x) * scale;
    view.y -= (event.clientY - held.y) * scale;
    held = { x: event.clientX, y: event.clientY };
    show();
  });
  const drop = (event) => { touches.delete(event.pointerId); held = null; };
  window.addEventListener("pointerup", drop);
  window.addEventListener("pointercancel", drop);
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) + Math.abs(event.deltaY) < 1) return;
    event.preventDefault();
    const edge = svg.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, view.x + ((event.clientX - edge.left) / edge.width) * view.w, view.y + ((event.clientY - edge.top) / edge.height) * view.h);
  }, { passive: false });
  box.querySelector(".zoom").addEventListener("click", (event) => {
    const how = event.target.dataset.zoom;
    if (how === "in") zoom(1 / 1.4);
    if (how === "out") zoom(1.4);
    if (how === "all") { view = { ...all }; show(); }
  });
  document.addEventListener("matview:view", (event) => { const mark = marks.get(event.detail.id); if (mark) mark(event.detail.condition); });
  fetch(box.dataset.graph).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer))).then(draw).catch(() => {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = "The graph could not be drawn. It is below as a list.";
    box.replaceWith(note);
  });
})();
