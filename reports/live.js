(function () {
  "use strict";
  var live = document.getElementById("live");
  var text = live.querySelector("span");
  var shown = text.textContent;
  function poll() {
    fetch("progress", { cache: "no-store" }).then(function (answer) {
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      return answer.json();
    }).then(function (now) {
      if (now.version !== live.dataset.version) {
        location.reload();
        return;
      }
      text.textContent = shown;
      setTimeout(poll, 2000);
    }).catch(function (problem) {
      text.textContent = shown + " · no longer updated: " + problem.message;
      setTimeout(poll, 5000);
    });
  }
  setTimeout(poll, 2000);
})();
