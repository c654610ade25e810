// Colours come from the page's style sheet, so that plots follow light and dark.
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const theme = () => {
  const narrow = innerWidth < 640;
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: color("faint"), titleColor: color("faint"), gridColor: color("line"), domainColor: color("line"),
      tickColor: color("line"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
      labelOverlap: "parity", labelSeparation: 10,
    },
    axisBand: { grid: false, domain: false, labelOverlap: false, labelFontSize: narrow ? 10 : 12, labelLimit: narrow ? 120 : 200 },
    legend: { labelColor: color("ink"), labelFontSize: 12, labelLimit: narrow ? 130 : 200, symbolStrokeWidth: 3 },
    line: { strokeWidth: 2 },
    bar: { color: color("bar") },
    range: { category: color("series").split(" "), heatmap: [color("weak"), color("strong")] },
    style: {
      "on-weak": { color: color("on-weak"), fontSize: 13 },
      "on-strong": { color: color("on-strong"), fontSize: 13 },
      cut: { color: color("cut"), strokeWidth: 2, strokeDash: [4, 3] },
      dot: { color: color("bar") },
      hollow: { fill: color("page"), stroke: color("bar"), strokeWidth: 2 },
    },
  };
};
const specs = JSON.parse(document.getElementById("plots").textContent);
const draw = () => {
  for (const place of document.querySelectorAll("[data-plot]")) {
    vegaEmbed(place, specs[place.dataset.plot], {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: theme(),
      tooltip: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light" },
    }).catch((error) => { place.textContent = `This plot could not be drawn: ${error.message}`; });
  }
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
