(function () {
  "use strict";
  // paint gives the options the page's colours, which follow the theme.
  function paint(data) {
    var options = data.options;
    var ink = getComputedStyle(document.body).color;
    var soft = getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
    options.textStyle = { color: ink };
    options.backgroundColor = "transparent";
    options.legend.textStyle = { color: ink };
    options.legend.pageTextStyle = { color: ink };
    options.legend.pageIconColor = ink;
    options.legend.itemWidth = options.legend.itemHeight = 13;
    options.tooltip.confine = true;
    options.tooltip.extraCssText = "white-space: normal; overflow-wrap: anywhere; max-width: 20rem";
    options.series.forEach(function (s) { // the mouse finds marks below lines
      if (s.type === "line") s.silent = true;
      else s.z = 3;
    });
    options.dataZoom.forEach(function (zoom) { // the wheel alone scrolls the page
      zoom.zoomOnMouseWheel = zoom.moveOnMouseMove = "ctrl";
      zoom.preventDefaultMouseMove = false;
    });
    ["xAxis", "yAxis"].forEach(function (name) {
      options[name].forEach(function (axis) {
        var places = data.ticks[name].map(function (t) { return t.at; });
        axis.axisTick = { customValues: places };
        axis.axisLabel = { color: ink, hideOverlap: true, customValues: places, formatter: function (v) {
          var at = places.indexOf(v);
          return at < 0 ? String(Number(v.toPrecision(3))) : data.ticks[name][at].label;
        } };
        axis.nameTextStyle = { color: ink };
        axis.axisLine = { show: true, onZero: false, lineStyle: { color: ink } };
        axis.splitLine = { lineStyle: { color: soft } };
        if (axis.type === "log") axis.logBase = 2;
      });
    });
    return options;
  }
  function draw() {
    document.querySelectorAll("figure[data-figure]").forEach(function (figure) {
      var data = figure.querySelector('script[type="application/json"]');
      if (!data) return;
      var box = document.createElement("div");
      box.className = "chart";
      figure.insertBefore(box, figure.firstChild);
      try {
        var options = paint(JSON.parse(data.textContent));
        var points = options.series.reduce(function (n, s) { return n + s.data.length; }, 0);
        var chart = echarts.init(box, null, { renderer: points > 2000 ? "canvas" : "svg" });
        chart.setOption(options);
        figure.setAttribute("data-drawn", "chart");
        new ResizeObserver(function () { chart.resize(); }).observe(box);
        matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
          chart.setOption(paint(JSON.parse(data.textContent)));
        });
      } catch (problem) {
        box.remove();
        console.error("chart " + figure.dataset.figure + ": " + problem);
      }
    });
  }
  if (window.echarts) {
    draw();
  } else if (document.body.dataset.charts && navigator.onLine) {
    var script = document.createElement("script"); // without it the drawings stay
    script.src = document.body.dataset.charts;
    script.referrerPolicy = "no-referrer";
    script.onload = draw;
    document.head.appendChild(script);
  }
})();
