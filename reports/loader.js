(function () {
  "use strict";
  var ink = getComputedStyle(document.body).color;
  var soft = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
  document.querySelectorAll("figure[data-figure]").forEach(function (figure) {
    var data = figure.querySelector('script[type="application/json"]');
    if (!data) return;
    var box = document.createElement("div");
    box.className = "chart";
    figure.insertBefore(box, figure.firstChild);
    try {
      var options = JSON.parse(data.textContent);
      options.textStyle = { color: ink };
      options.backgroundColor = "transparent";
      options.legend.textStyle = { color: ink };
      options.legend.itemWidth = options.legend.itemHeight = 12;
      ["xAxis", "yAxis"].forEach(function (name) {
        options[name].forEach(function (axis) {
          axis.axisLabel = { color: ink, showMinLabel: false, showMaxLabel: false, formatter: function (v) { return String(Number(v.toPrecision(3))); } };
          axis.nameTextStyle = { color: ink };
          axis.axisLine = { show: true, onZero: false, lineStyle: { color: ink } };
          axis.splitLine = { lineStyle: { color: soft } };
          if (axis.type === "log") axis.logBase = 2;
        });
      });
      var chart = echarts.init(box, null, { renderer: "svg" });
      chart.setOption(options);
      figure.setAttribute("data-drawn", "chart");
      new ResizeObserver(function () { chart.resize(); }).observe(box);
    } catch (problem) {
      box.remove();
      console.error("chart " + figure.dataset.figure + ": " + problem);
    }
  });
})();
