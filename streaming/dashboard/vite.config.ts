import { defineConfig } from "vite";

// What is built is committed, so that nobody needs Node to run the server; a test builds it anew and compares.
export default defineConfig({
  base: "./",
  build: {
    outDir: "built",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { "/v1": { target: "http://127.0.0.1:8765", ws: true } },
  },
});
