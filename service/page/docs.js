// Swagger UI on this service's own description.

const home = new URL(".", document.baseURI).href.replace(/\/$/, ""); // perhaps below the path of a proxy that told the service of none

async function show() {
  const api = await (await fetch("openapi.json")).json();
  api.servers ??= [{ url: home }];
  SwaggerUIBundle({
    spec: api,
    dom_id: "#docs",
    deepLinking: true,
    displayOperationId: true,
    validatorUrl: null, // else it sends the document's address to validator.swagger.io
    tryItOutEnabled: true,
  });
}

show();
