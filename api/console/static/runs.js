"use strict";
// The seconds that runs took, as points over time: a colour for each way to end.
function plotRuns() {
  const figure = document.getElementById("plot");
  if (!figure || !window.uPlot) return;
  const style = () => getComputedStyle(document.documentElement);
  const colours = { Completed: "--green", Failed: "--red", Cancelled: "--violet", Skipped: "--grey" };
  let plot = null;

  function draw(runs) {
    const times = runs.started_at.map((text) => Date.parse(text) / 1000);
    const series = Object.keys(colours).filter((status) => runs.status.includes(status));
    const data = [times, ...series.map((status) => runs.duration_seconds.map((seconds, n) => (runs.status[n] === status ? seconds : null)))];
    const ink = style().getPropertyValue("--muted").trim();
    const line = style().getPropertyValue("--line").trim();
    const axis = { stroke: ink, grid: { stroke: line }, ticks: { stroke: line } };
    const options = {
      width: figure.clientWidth - 24,
      height: 170,
      legend: { live: false },
      cursor: { drag: { x: true, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 0.01)] } },
      axes: [axis, { ...axis, values: (_, ticks) => ticks.map((seconds) => window.matview.length(seconds)), size: 70 }],
      series: [{}, ...series.map((status) => {
        const colour = style().getPropertyValue(colours[status]).trim();
        return { label: status, stroke: colour, width: 0, paths: () => null, points: { show: true, size: 6, fill: colour, stroke: colour } };
      })],
    };
    if (plot) plot.destroy();
    plot = new window.uPlot(options, data, figure);
  }

  fetch(figure.dataset.runs).then((answer) => answer.json()).then((runs) => {
    if (runs.started_at.length < 2) { figure.hidden = true; return; }
    draw(runs);
    new ResizeObserver(() => plot && plot.setSize({ width: figure.clientWidth - 24, height: 170 })).observe(figure);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(runs));
  }).catch(() => { figure.hidden = true; });
}
plotRuns();
document.addEventListener("matview:loaded", plotRuns);
