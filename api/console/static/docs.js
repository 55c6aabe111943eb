"use strict";
// The two pages of the API's document, which both are drawn from /api/schema/.
(() => {
  const place = document.getElementById("api");
  if (place.dataset.kind === "swagger") {
    window.SwaggerUIBundle({ url: "/api/schema/", domNode: place, deepLinking: true, validatorUrl: null, presets: [window.SwaggerUIBundle.presets.apis], layout: "BaseLayout" });
  } else {
    // Redoc shows the mark of its maker from their server. The policy of the page refuses that; this keeps it from trying.
    const isOwn = (address) => ["", location.origin].includes(String(address).replace(/^(https?:\/\/[^/]*)?.*$/, "$1"));
    const image = HTMLImageElement.prototype;
    const { set: setSource, get: source } = Object.getOwnPropertyDescriptor(image, "src");
    Object.defineProperty(image, "src", { get: source, set(address) { if (isOwn(address)) setSource.call(this, address); } });
    const setAttribute = Element.prototype.setAttribute;
    image.setAttribute = function (name, value) { if (name !== "src" || isOwn(value)) setAttribute.call(this, name, value); };
    window.Redoc.init("/api/schema/", { disableSearch: false, hideDownloadButtons: true }, place);
  }
})();
