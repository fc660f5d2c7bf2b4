// Keeps a page of the console live: regions that have changed come as server-sent events and take
// the place of those that are there. Without this the pages work and are refreshed by a link.
"use strict";

(() => {
  const address = document.body.dataset.live;
  const status = document.getElementById("status");
  if (!address || !status) return;

  const SILENCE = 15000; // ms; the daemon says that it is there every five seconds
  const AGAIN = 3000; // ms until a stream that was refused is asked for again
  let offset = 0; // ms by which the daemon's clock is ahead of this one
  let heardAt = Date.now();
  let source = null;

  const apart = (seconds) => {
    const s = Math.floor(Math.abs(seconds));
    const far =
      s < 60 ? `${s} s`
      : s < 3600 ? `${Math.floor(s / 60)} min`
      : s < 172800 ? `${Math.floor(s / 3600)} h`
      : `${Math.floor(s / 86400)} d`;
    return seconds < 0 && s > 0 ? `in ${far}` : `${far} ago`;
  };

  const tellTimes = (root) => {
    for (const time of root.querySelectorAll("time")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      const words = apart((Date.now() + offset - at) / 1000);
      if (time.textContent !== words) time.textContent = words;
    }
  };

  // The status is read aloud when it changes, so it changes only when there is something to say.
  const say = (words, isLive) => {
    document.body.classList.toggle("stale", !isLive);
    if (status.textContent !== words) status.textContent = words;
    status.className = isLive ? "live" : "lost";
  };

  // Who was on a link of the region, or had something open in it, stays there.
  const place = (region) => {
    const active = document.activeElement;
    const all = (name) => [...region.querySelectorAll(name)];
    const at = region.contains(active) ? all("a, summary, pre, [tabindex]").indexOf(active) : -1;
    const href = active && active.getAttribute("href");
    const open = all("details").map((details) => details.open);
    const scrolled = all(".canvas").map((canvas) => [canvas.scrollLeft, canvas.scrollTop]);
    return () => {
      all("details").forEach((details, nth) => { if (open[nth]) details.open = true; });
      all(".canvas").forEach((canvas, nth) => { if (scrolled[nth]) canvas.scrollTo(...scrolled[nth]); });
      if (at < 0) return;
      const same = all("a").find((link) => link.getAttribute("href") === href);
      const target = (href && same) || all("a, summary, pre, [tabindex]")[at];
      if (target) target.focus({ preventScroll: true });
    };
  };

  const show = ({ id, html }) => {
    let region = document.getElementById(id);
    if (!region) {
      region = document.createElement("section");
      region.id = id;
      document.getElementById("main").append(region);
    }
    const back = place(region);
    region.innerHTML = html; // made and escaped by the daemon
    tellTimes(region);
    back();
  };

  const listen = () => {
    source = new EventSource(address);
    source.addEventListener("region", (event) => {
      heardAt = Date.now();
      show(JSON.parse(event.data));
    });
    source.addEventListener("now", (event) => {
      heardAt = Date.now();
      offset = Date.parse(JSON.parse(event.data).at) - heardAt;
      say("live", true);
    });
    source.addEventListener("error", () => {
      say("the daemon does not answer; trying again", false);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN);
    });
  };

  setInterval(() => {
    tellTimes(document);
    if (Date.now() - heardAt > SILENCE) say("the daemon is silent; what is shown is old", false);
  }, 1000);
  window.addEventListener("pagehide", () => { if (source) source.close(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  // A drawing that is wider than the window begins at its centre.
  for (const canvas of document.querySelectorAll(".canvas")) {
    const center = canvas.querySelector(".center");
    if (!center) continue;
    const [own, inner] = [canvas.getBoundingClientRect(), center.getBoundingClientRect()];
    canvas.scrollLeft += inner.left - own.left - (own.width - inner.width) / 2;
  }
  tellTimes(document);
  listen();
})();
