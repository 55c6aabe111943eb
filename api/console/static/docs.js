"use strict";
// The two pages of the API's document, which both are drawn from /api/schema/.
(() => {
  const place = document.getElementById("api");
  if (place.dataset.kind === "swagger") {
    window.SwaggerUIBundle({ url: "/api/schema/", domNode: place, deepLinking: true, validatorUrl: null, presets: [window.SwaggerUIBundle.presets.apis], layout: "BaseLayout" });
  } else {
    // Redoc shows the mark of its maker from their server. The policy of the page refuses that; this keeps it from trying.
    const set = HTMLImageElement.prototype.setAttribute;
    HTMLImageElement.prototype.setAttribute = function (name, value) {
      if (name !== "src" || new URL(value, location.href).origin === location.origin) set.call(this, name, value);
    };
    window.Redoc.init("/api/schema/", { disableSearch: false, hideDownloadButtons: true }, place);
  }
})();
