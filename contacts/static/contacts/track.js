/* Our small tracker. <script src="https://crm.example/js/track.js" data-key="jc_…" async></script>
 *
 *   data-key       the write key (needed)
 *   data-host      where to send; by default where this file came from
 *   data-consent   "required": nothing is stored or sent before journey.consent(true)
 *   data-page      "off": do not tell this page by itself
 *   data-forms     "off": do not tell forms; a single form says data-journey="off"
 *   data-onsite    "off": show no messages on this page
 *
 * Then: journey.page(name, properties), journey.track(event, properties), journey.identify(userId, traits),
 * journey.consent(true | false), journey.reset(). A browser that asks not to be tracked is not.
 */
(function () {
  "use strict";
  var script = document.currentScript;
  var key = script && script.getAttribute("data-key");
  if (!key || window.journey) return;
  var host = (script.getAttribute("data-host") || new URL(script.src).origin).replace(/\/$/, "");
  var option = function (name) { return script.getAttribute("data-" + name); };
  var refuses = navigator.doNotTrack === "1" || window.doNotTrack === "1" || navigator.globalPrivacyControl === true;
  var waiting = [];

  function read(name) {
    try { var kept = localStorage.getItem(name); if (kept) return kept; } catch (error) { /* storage is shut */ }
    var found = document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)"));
    return found ? decodeURIComponent(found[1]) : "";
  }

  function keep(name, value) {
    try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch (error) { /* as above */ }
    document.cookie = name + "=" + encodeURIComponent(value) + "; path=/; max-age=" + (value ? 31536000 : 0) +
      "; samesite=lax" + (location.protocol === "https:" ? "; secure" : "");
  }

  function random() {
    if (window.crypto && crypto.randomUUID) return crypto.randomUUID();
    var bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.prototype.map.call(bytes, function (one) { return ("0" + one.toString(16)).slice(-2); }).join("");
  }

  function anonymousId() {
    var id = read("journey_anonymous_id");
    if (!id) keep("journey_anonymous_id", id = random());
    return id;
  }

  // null: not asked yet.
  function consent() {
    if (refuses) return false;
    var said = read("journey_consent");
    if (said) return said === "yes";
    return option("consent") === "required" ? null : true;
  }

  function context() {
    var campaign = {};
    new URLSearchParams(location.search).forEach(function (value, name) {
      if (name.indexOf("utm_") === 0) campaign[name === "utm_campaign" ? "name" : name.slice(4)] = value;
    });
    return {
      library: { name: "track.js", version: "1" },
      page: { url: location.href, path: location.pathname, title: document.title, referrer: document.referrer, search: location.search },
      campaign: campaign,
      userAgent: navigator.userAgent,
      locale: navigator.language,
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone
    };
  }

  function send(call) {
    var allowed = consent();
    if (allowed === false) return;
    if (allowed === null) { waiting.push(call); return; }
    call.anonymousId = anonymousId();
    var user = read("journey_user_id");
    if (user && !call.userId) call.userId = user;
    call.writeKey = key;
    call.sentAt = new Date().toISOString();
    var body = JSON.stringify(call);
    var address = host + "/v1/" + call.type;
    // text/plain needs no preflight, and a beacon outlives the page.
    if (navigator.sendBeacon && navigator.sendBeacon(address, new Blob([body], { type: "text/plain" }))) return;
    fetch(address, { method: "POST", body: body, keepalive: true, mode: "cors", credentials: "omit", headers: { "Content-Type": "text/plain" } })
      .catch(function () { /* a lost hit is not worth an error on somebody's page */ });
  }

  function make(type, more) {
    var call = { type: type, messageId: "js-" + random(), timestamp: new Date().toISOString(), context: context() };
    for (var name in more) if (more[name] !== undefined) call[name] = more[name];
    send(call);
  }

  var journey = window.journey = {
    page: function (name, properties) { make("page", { name: name, properties: properties || {} }); },
    track: function (event, properties) { make("track", { event: event, properties: properties || {} }); },
    identify: function (userId, traits) {
      if (userId !== null && typeof userId === "object") { traits = userId; userId = undefined; }
      if (userId && consent()) keep("journey_user_id", String(userId));
      make("identify", { userId: userId ? String(userId) : undefined, traits: traits || {} });
    },
    consent: function (yes) {
      keep("journey_consent", yes ? "yes" : "no");
      var late = waiting;
      waiting = [];
      if (yes) { late.forEach(send); onsite(); }
      else journey.reset();
    },
    reset: function () {
      keep("journey_anonymous_id", "");
      keep("journey_user_id", "");
      var shown = document.getElementById("journey-onsite");
      if (shown) shown.remove();
    }
  };

  // Messages on this page: asked for only with consent, shown one at a time, in a tree of their own, so that neither the
  // page's style nor its Content-Security-Policy is in the way.
  var isAsked = false;

  function ask(path, more) {
    var body = JSON.stringify(Object.assign({ writeKey: key }, more));
    return fetch(host + "/v1/onsite" + path, { method: "POST", body: body, keepalive: true, mode: "cors", credentials: "omit", headers: { "Content-Type": "text/plain" } });
  }

  function onsite() {
    if (isAsked || option("onsite") === "off" || consent() !== true || !window.CSSStyleSheet || !("adoptedStyleSheets" in document)) return;
    isAsked = true;
    ask("", { anonymousId: anonymousId(), userId: read("journey_user_id") || undefined })
      .then(function (answer) { return answer.ok ? answer.json() : {}; })
      .then(function (told) {
        if (!told.message) return;
        if (document.body) show(told.message);
        else document.addEventListener("DOMContentLoaded", function () { show(told.message); });
      })
      .catch(function () { /* a message that does not come is not worth an error on somebody's page */ });
  }

  function element(tag, text, attributes) {
    var made = document.createElement(tag);
    if (text) made.textContent = text;
    for (var name in attributes || {}) made.setAttribute(name, attributes[name]);
    return made;
  }

  function show(message) {
    if (consent() !== true) return;
    var frame = element("div", "", { id: "journey-onsite" });
    var root = frame.attachShadow({ mode: "open" });
    var sheet = new CSSStyleSheet();
    sheet.replaceSync(look);
    root.adoptedStyleSheets = [sheet];
    var box = element("section", "", { lang: message.language });
    box.setAttribute(message.title ? "aria-labelledby" : "aria-label", message.title ? "title" : message.text.length ? message.text[0][0].text : "");
    if (message.title) box.appendChild(element("h2", message.title, { id: "title" }));
    message.text.forEach(function (line) {
      var paragraph = box.appendChild(element("p"));
      line.forEach(function (piece) {
        paragraph.appendChild(piece.url ? element("a", piece.text, { href: piece.url }) : document.createTextNode(piece.text));
      });
    });
    var close = box.appendChild(element("button", "\u00d7", { type: "button", "aria-label": message.close }));
    function dismiss() {
      frame.remove();
      ask("/dismissed", { token: message.token }).catch(function () { /* as above */ });
    }
    close.addEventListener("click", dismiss);
    box.addEventListener("keydown", function (event) { if (event.key === "Escape") dismiss(); });
    root.appendChild(box);
    document.body.appendChild(frame);
    ask("/shown", { token: message.token }).catch(function () { /* as above */ });
  }

  var look = ":host{all:initial}" +
    "section{position:fixed;right:16px;bottom:16px;z-index:2147483000;box-sizing:border-box;width:360px;max-width:calc(100vw - 32px);" +
    "max-height:calc(100vh - 32px);overflow:auto;padding:16px 52px 16px 20px;border:1px solid #d0d7de;border-radius:8px;background:#fff;" +
    "color:#1f2328;font:16px/1.5 system-ui,sans-serif;box-shadow:0 8px 24px rgba(0,0,0,.16)}" +
    "h2{margin:0 0 8px;font-size:18px;line-height:1.3}p{margin:0 0 8px;overflow-wrap:anywhere}p:last-of-type{margin:0}a{color:#0b57d0}" +
    "button{position:absolute;top:4px;right:4px;width:44px;height:44px;border:0;border-radius:8px;background:none;color:inherit;" +
    "font:24px/1 system-ui,sans-serif;cursor:pointer}a:focus-visible,button:focus-visible{outline:2px solid currentColor;outline-offset:-4px}" +
    "@media (prefers-color-scheme:dark){section{background:#1f2328;color:#f0f3f6;border-color:#59636e}a{color:#8ab4f8}}";

  // Which trait a field of a form tells; what is not here is not read, so no password and no card number leaves.
  var fields = {
    email: "email", "e-mail": "email", mail: "email", first_name: "first_name", firstname: "first_name",
    "given-name": "first_name", last_name: "last_name", lastname: "last_name", surname: "last_name",
    "family-name": "last_name", name: "name", phone: "phone", tel: "phone", company: "company", organization: "company"
  };

  if (option("forms") !== "off") {
    document.addEventListener("submit", function (event) {
      var form = event.target;
      if (!form || form.getAttribute("data-journey") === "off") return;
      var traits = {};
      Array.prototype.forEach.call(form.elements, function (input) {
        if (!input.value || input.type === "password" || input.type === "hidden") return;
        var trait = fields[(input.name || "").toLowerCase()] || fields[(input.autocomplete || "").toLowerCase()] ||
          (input.type === "email" ? "email" : undefined);
        if (trait) traits[trait] = input.value;
      });
      if (traits.email) {
        // The page's own language and the visitor's clock: mails are to come in the one and by the other.
        traits.language = (document.documentElement.lang || navigator.language || "").slice(0, 2).toLowerCase();
        traits.timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
        journey.identify(traits);
      }
      journey.track("form.submitted", { form: form.id || form.getAttribute("name") || "", url: location.href });
    }, true);
  }
  if (option("page") !== "off") journey.page();
  onsite();
})();
