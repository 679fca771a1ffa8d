// The service worker of the page: keeps its files, and gives them with or without a network.
"use strict";
const VERSION = "", FILES = [];
const PREFIX = `unpaired ${self.registration.scope} `, NAME = PREFIX + VERSION;

self.addEventListener("install", (event) => event.waitUntil((async () => {
  const cache = await caches.open(NAME);
  await cache.addAll(FILES.map((name) => new Request(name, { cache: "no-cache" })));
  await self.skipWaiting();
})()));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== NAME) await caches.delete(name);
  }
  await self.clients.claim();
})()));

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(NAME);
  const page = request.mode === "navigate" ? "./" : request;
  const found = await cache.match(page, { ignoreSearch: true }) ?? await fetch(request);
  if (found.type === "error" || found.type.startsWith("opaque")) return found;
  const headers = new Headers(found.headers); // with these, WebAssembly may use several threads
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
