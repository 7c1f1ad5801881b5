/* Under the text of an SMS: how long it gets, counted by the server as its operator will. */
(function () {
  "use strict";
  document.addEventListener("DOMContentLoaded", function () {
    var form = document.getElementById("template_form");
    var body = document.getElementById("id_body");
    var channel = document.getElementById("id_channel");
    if (!form || !body || !channel) return;
    var line = document.createElement("p");
    line.className = "help";
    line.id = "sms-count";
    line.setAttribute("role", "status");
    line.hidden = true;
    body.insertAdjacentElement("afterend", line);
    var address = location.pathname.replace(/(add|[^/]+\/change)\/$/, "count/");
    var timer, turn = 0;

    function count() {
      var mine = ++turn;
      if (channel.value !== "sms") { line.hidden = true; return; }
      fetch(address, { method: "POST", body: new FormData(form), credentials: "same-origin" })
        .then(function (answer) { return answer.ok ? answer.json() : null; })
        .then(function (told) {
          // A later text may have been counted already.
          if (!told || mine !== turn) return;
          line.textContent = told.sentence;
          line.classList.toggle("errornote", told.is_too_long);
          line.hidden = false;
        })
        .catch(function () { /* the check at saving says it, too */ });
    }

    function soon() { clearTimeout(timer); timer = setTimeout(count, 250); }
    form.addEventListener("input", soon);
    form.addEventListener("change", soon);
    count();
  });
})();
