/** Where Chromium is; Playwright's own download is not available everywhere. */
export const executablePath = process.env["CHROMIUM"] || "/usr/bin/chromium";

/** Flags that give WebGPU on a machine without a GPU, and keep the browser from talking to anyone by itself. */
export const args = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
  // Workgroup memory is then emptied by a loop: SwiftShader compiles a constant as a store a word, which takes seconds.
  "--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension",
];
