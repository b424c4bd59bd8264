(function () {
  "use strict";
  function all(selector, within) { return Array.prototype.slice.call((within || document).querySelectorAll(selector)); }

  // Tabs: one group of rows is in sight at a time.
  var tabs = all("[role=tab]");
  function choose(group) {
    tabs.forEach(function (tab) {
      var on = tab.dataset.group === group;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    });
    all("[data-group]").forEach(function (part) {
      if (part.getAttribute("role") !== "tab") part.hidden = part.dataset.group !== group;
    });
    window.dispatchEvent(new Event("resize")); // charts take their box's width
  }
  if (tabs.length > 0) {
    tabs[0].parentNode.hidden = false;
    tabs.forEach(function (tab, i) {
      tab.addEventListener("click", function () {
        choose(tab.dataset.group);
        history.replaceState(null, "", "#answer-" + tab.dataset.group);
      });
      tab.addEventListener("keydown", function (e) {
        var step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
        if (!step) return;
        var next = tabs[(i + step + tabs.length) % tabs.length];
        next.focus();
        next.click();
      });
    });
    choose(tabs[0].dataset.group);
  }

  // A reference may lead into another tab or into something folded.
  function follow() {
    var id = decodeURIComponent(location.hash.slice(1));
    var target = id && document.getElementById(id);
    if (!target) return;
    for (var at = target; at; at = at.parentElement) {
      if (at.dataset.group && tabs.length > 0 && at.hidden) choose(at.dataset.group);
      if (at.tagName === "DETAILS") at.open = true;
    }
    if (target.tagName === "SECTION" && target.querySelector("details.fold")) target.querySelector("details.fold").open = true;
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", follow);

  var toc = document.querySelector("#contents details");
  var narrow = window.matchMedia("(max-width: 64rem)");
  if (toc && narrow.matches) toc.open = false;
  narrow.addEventListener("change", function () { if (toc) toc.open = !narrow.matches; });
  all("#contents a").forEach(function (link) {
    link.addEventListener("click", function () {
      if (narrow.matches) toc.open = false;
      if (link.hash === location.hash) follow();
    });
  });

  // Tables sort by a click on a heading, and show only lines with a value that was
  // clicked, or with the words of the box above them.
  function number(text) {
    var m = text.replace(/\u2212/g, "-").replace(/[\u00a0 ]/g, "").match(/^[+]?(-?\d[\d,]*\.?\d*(?:e[-+]?\d+)?)/i);
    return m ? parseFloat(m[1].replace(/,/g, "")) : null;
  }
  function value(line, column) {
    var cell = line.cells[column];
    var own = cell.querySelector("bdi, a");
    return (own || cell).textContent.trim();
  }
  function compare(a, b, column) {
    var x = value(a, column), y = value(b, column);
    var empty = function (s) { return s === "" || s === "–"; };
    if (empty(x) || empty(y)) return empty(x) - empty(y);
    var u = number(x), v = number(y);
    if (u !== null && v !== null && u !== v) return u - v;
    return x.localeCompare(y, "en", { numeric: true });
  }
  all(".scroll > table").forEach(function (table) {
    var body = table.tBodies[0], lines = Array.prototype.slice.call(body.rows);
    if (lines.length < 2) return;
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    function sort(column) {
      var head = heads[column];
      var next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
      heads.forEach(function (h) { h.removeAttribute("aria-sort"); });
      var order = lines.slice();
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        order.sort(function (a, b) {
          var c = compare(a, b, column);
          var missing = /^(–|)$/.test(value(a, column)) !== /^(–|)$/.test(value(b, column));
          return next === "descending" && !missing ? -c : c;
        });
      }
      order.forEach(function (line) { body.appendChild(line); });
    }
    heads.forEach(function (head, column) {
      head.tabIndex = 0;
      head.title = "sort by " + head.textContent.trim();
      head.addEventListener("click", function () { sort(column); });
      head.addEventListener("keydown", function (e) {
        if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(column); }
      });
    });
    if (lines.length < 6) return;
    var bar = document.createElement("div"), box = document.createElement("input"), count = document.createElement("span");
    var wanted = []; // of [column, value]
    bar.className = "filter";
    box.type = "search";
    box.placeholder = "show lines with …";
    box.setAttribute("aria-label", "show only lines of this table with these words");
    bar.appendChild(box);
    bar.appendChild(count);
    table.parentNode.parentNode.insertBefore(bar, table.parentNode);
    function apply() {
      var words = box.value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      lines.forEach(function (line) {
        var text = (line.textContent + " " + (line.dataset.label || "")).toLowerCase();
        var on = words.every(function (w) { return text.indexOf(w) >= 0; }) &&
          wanted.every(function (w) { return value(line, w[0]) === w[1]; });
        line.hidden = !on;
        shown += on;
      });
      all("button", bar).forEach(function (b) { b.remove(); });
      wanted.forEach(function (w) {
        var chip = document.createElement("button");
        chip.type = "button";
        chip.textContent = heads[w[0]].textContent.trim() + " " + (w[1] || "(none)") + " ×";
        chip.addEventListener("click", function () {
          wanted = wanted.filter(function (o) { return o !== w; });
          apply();
        });
        bar.insertBefore(chip, count);
      });
      count.textContent = shown === lines.length ? "" : shown + " of " + lines.length;
    }
    box.addEventListener("input", apply);
    lines.forEach(function (line) {
      Array.prototype.forEach.call(line.cells, function (cell, column) {
        if (!cell.classList.contains("pick")) return;
        cell.title = "show only these";
        cell.addEventListener("click", function () {
          wanted = wanted.filter(function (w) { return w[0] !== column; });
          wanted.push([column, value(line, column)]);
          apply();
        });
      });
    });
  });

  follow();
})();
