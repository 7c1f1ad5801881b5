// node send.mjs <write key> <host>: one person's way, told by the unmodified SDK.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [key, host, modules] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${modules}/`));
const { Analytics } = require("@segment/analytics-node");

const analytics = new Analytics({ writeKey: key, host, path: "/v1/batch", flushAt: 10, maxRetries: 2 });
analytics.on("error", (error) => { console.error(error); process.exitCode = 1; });

analytics.page({ anonymousId: "node-1", properties: { url: "https://shop.example/pricing", title: "Pricing" } });
analytics.identify({ userId: "n42", anonymousId: "node-1", traits: { email: "Node@Shop.example", plan: "trial" } });
analytics.track({ userId: "n42", event: "Product Viewed", properties: { sku: "A1" } });
analytics.alias({ userId: "n42", previousId: "node-0" });
await analytics.closeAndFlush({ timeout: 10000 });
