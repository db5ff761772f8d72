//! The GPU device: asking for it, building kernels on it, reading from it.

use std::{
    any::Any,
    cell::Cell,
    pin::Pin,
    sync::{Arc, Mutex},
};

use wgpu::util::DeviceExt;

use crate::error::{Error, ErrorKind, Result};

/// What a driver makes of a kernel's text, told by its label.
#[cfg(feature = "testing")]
pub type Wrong = Box<dyn Fn(&str, &str) -> String>;

/// A kernel that the driver compiles, whether anybody waits for it or not.
///
/// Fails with `internal` when the driver refuses the text: on the web an invalid shader would otherwise only be logged, and
/// every number after it would be stale.
pub type Begun = Pin<Box<dyn Future<Output = Result<wgpu::ComputePipeline>>>>;

/// Lets a browser compile a text on threads of its own, given whether each of its buffers is only read; the browser finds the
/// result when it is asked for the same pipeline, as long as what this gives is kept.
pub type Ahead = Box<dyn Fn(&wgpu::Device, &str, &[bool]) -> Pin<Box<dyn Future<Output = Box<dyn Any>>>>>;

/// A GPU device and what it can do.
pub struct Gpu {
    /// The wgpu device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Adapter name, driver and backend in one line.
    pub description: String,
    /// Whether the processor poses as this GPU: its kernels are known, and nothing is measured.
    pub software: bool,
    /// Compiles kernels ahead, where the device itself would have all others wait.
    pub ahead: Option<Ahead>,
    /// Changes the text of kernels before the driver sees them, by their labels: a driver that compiles wrongly, for tests.
    #[cfg(feature = "testing")]
    pub wrong: Option<Wrong>,
    /// Bytes beyond which the device has no memory, for tests.
    #[cfg(feature = "testing")]
    pub most_bytes: Option<u64>,
    /// Smallest subgroup the device promises, where subgroup operations are on.
    pub subgroup: Option<u32>,
    /// The first thing that went wrong on the device outside any call.
    fault: Arc<Mutex<Option<Fault>>>,
    allocated_bytes: Cell<u64>,
}

struct Fault {
    lost: bool,
    message: String,
}

/// What to ask of a device beyond WebGPU's defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct GpuOptions {
    /// Leave subgroup operations off even where the device has them.
    pub without_subgroups: bool,
    /// Run within WebGPU's default limits even where the device offers more.
    pub default_limits: bool,
    /// Ask for a clock for kernels, where the device has one.
    pub timestamps: bool,
}

/// The answer to a [`Gpu::map`], and who waits for it.
pub(crate) type Mapping =
    Arc<Mutex<(Option<std::result::Result<(), wgpu::BufferAsyncError>>, Option<std::task::Waker>)>>;

impl Gpu {
    /// Asks for a device.
    ///
    /// # Errors
    /// `no-webgpu` with the reason when there is no adapter or it gives no device.
    pub async fn request(options: GpuOptions) -> Result<Self> {
        let no_gpu = |why: String| Error::new(ErrorKind::NoWebgpu, why);
        let instance = wgpu::Instance::default();
        let preference = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance
            .request_adapter(&preference)
            .await
            // The library's own words name backends that no person asked for.
            .map_err(|_| no_gpu("no GPU adapter is available here".into()))?;
        let info = adapter.get_info();
        let mut features = wgpu::Features::empty();
        if !options.without_subgroups {
            features |= adapter.features() & wgpu::Features::SUBGROUP;
        }
        if options.timestamps {
            features |= adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        }
        let required_limits =
            if options.default_limits { wgpu::Limits::default() } else { wanted_limits(&adapter.limits()) };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("imprint"),
            required_features: features,
            required_limits,
            ..Default::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| no_gpu(format!("the GPU adapter {} gives no device", info.name)).with_source(e))?;
        let subgroup = features.contains(wgpu::Features::SUBGROUP).then_some(info.subgroup_min_size);
        let fault = watch(&device);
        let description = describe(&info);
        let software = info.device_type == wgpu::DeviceType::Cpu || is_software(&description);
        Ok(Self {
            device,
            queue,
            description,
            software,
            ahead: None,
            #[cfg(feature = "testing")]
            wrong: None,
            #[cfg(feature = "testing")]
            most_bytes: None,
            subgroup,
            fault,
            allocated_bytes: Cell::new(0),
        })
    }

    /// Refuses to go on after the device was lost or reported an error.
    ///
    /// # Errors
    /// `device-lost` or `internal`, with the driver's words.
    pub fn check(&self) -> Result<()> {
        let fault = self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*fault {
            None => Ok(()),
            Some(Fault { lost: true, message }) => {
                Err(Error::new(ErrorKind::DeviceLost, format!("the GPU went away ({message}); open the model again")))
            }
            Some(Fault { lost: false, message }) if message.to_lowercase().contains("out of memory") => {
                Err(Error::new(ErrorKind::OutOfMemory, format!("the GPU has too little memory: {message}")))
            }
            Some(Fault { message, .. }) => {
                Err(Error::new(ErrorKind::Internal, format!("the GPU refused a command: {message}")))
            }
        }
    }

    /// A pipeline from WGSL text whose entry point is `main`.
    ///
    /// # Errors
    /// As [`Begun`].
    pub async fn kernel(&self, label: &str, wgsl: &str) -> Result<wgpu::ComputePipeline> {
        self.begin(label, wgsl).await
    }

    /// As [`Gpu::kernel`], and begins at once: several are compiled side by side, and beside what the host does meanwhile.
    pub fn begin(&self, label: &str, wgsl: &str) -> Begun {
        #[cfg(feature = "testing")]
        let wgsl = &self.wrong.as_ref().map_or_else(|| wgsl.to_owned(), |wrong| wrong(label, wgsl));
        let (device, label, wgsl) = (self.device.clone(), label.to_owned(), wgsl.to_owned());
        #[cfg(not(target_arch = "wasm32"))]
        {
            // A driver compiles for as long as it is called.
            let thread = std::thread::spawn(move || (build(&device, &label, &wgsl), label));
            Box::pin(async move {
                let ((pipeline, fault), label) = thread.join().expect("building a kernel does not panic");
                accepted(pipeline, fault.await, &label)
            })
        }
        #[cfg(target_arch = "wasm32")]
        {
            let ahead = self.ahead.as_ref().map(|ahead| ahead(&device, &wgsl, &buffers_only_read(&wgsl)));
            Box::pin(async move {
                let _kept = match ahead {
                    Some(ahead) => Some(ahead.await),
                    None => None,
                };
                let (pipeline, fault) = build(&device, &label, &wgsl);
                accepted(pipeline, fault.await, &label)
            })
        }
    }

    /// Binds `buffers` to the first group of `kernel`, in order.
    pub fn bind(&self, kernel: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let parts: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_buffer_binding()).collect();
        self.bind_parts(kernel, &parts)
    }

    /// Binds parts of buffers to the first group of `kernel`, in order; each begins at a multiple of 256 bytes.
    pub fn bind_parts(&self, kernel: &wgpu::ComputePipeline, parts: &[wgpu::BufferBinding<'_>]) -> wgpu::BindGroup {
        let entries: Vec<_> = (0u32..)
            .zip(parts)
            .map(|(binding, part)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(part.clone()),
            })
            .collect();
        let layout = kernel.get_bind_group_layout(0);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries })
    }

    /// An empty storage buffer of `words` 32-bit words.
    pub fn buffer(&self, label: &str, words: usize) -> wgpu::Buffer {
        let size = (words.max(4) * 4) as u64;
        self.allocated_bytes.set(self.allocated_bytes.get() + size);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A storage buffer that holds `data`.
    pub fn upload<T: bytemuck::NoUninit>(&self, label: &str, data: &[T]) -> wgpu::Buffer {
        let contents = bytemuck::cast_slice(data);
        self.allocated_bytes.set(self.allocated_bytes.get() + contents.len() as u64);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some(label), contents, usage })
    }

    /// Makes buffers and tells whether the device has memory for them; without, they are of no use, and the device stays usable.
    pub(crate) async fn reserve<T>(&self, make: impl FnOnce() -> T) -> (T, bool) {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make();
        let fits = scope.pop().await.is_none();
        #[cfg(feature = "testing")]
        let fits = fits && self.most_bytes.is_none_or(|most| self.allocated_bytes() <= most);
        (made, fits)
    }

    /// Frees `buffer` now and counts it no longer.
    pub fn release(&self, buffer: &wgpu::Buffer) {
        self.allocated_bytes.set(self.allocated_bytes.get() - buffer.size());
        buffer.destroy();
    }

    /// Bytes of GPU memory asked for through this handle, less what was released.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes.get()
    }

    /// A buffer the host can map, to read `bytes` through.
    pub fn staging(&self, bytes: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Waits for the work that fills `staging` and returns its words.
    ///
    /// # Errors
    /// `device-lost` when the device goes away while waiting.
    pub async fn read<T: bytemuck::AnyBitPattern>(&self, staging: &wgpu::Buffer) -> Result<Vec<T>> {
        self.mapped(staging, self.map(staging), None).await
    }

    /// Asks for `staging` once the work that fills it is done, for [`Gpu::mapped`] to wait for.
    pub(crate) fn map(&self, staging: &wgpu::Buffer) -> Mapping {
        let done: Mapping = Arc::default();
        let signal = done.clone();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let mut done = signal.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            done.0 = Some(result);
            if let Some(waker) = done.1.take() {
                waker.wake();
            }
        });
        done
    }

    /// Waits for what was asked for and returns its words; natively for `submission`, where it is told, and for nothing that
    /// was given to the device later.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub(crate) async fn mapped<T: bytemuck::AnyBitPattern>(
        &self,
        staging: &wgpu::Buffer,
        done: Mapping,
        submission: Option<wgpu::SubmissionIndex>,
    ) -> Result<Vec<T>> {
        // A browser calls back by itself.
        if cfg!(not(target_arch = "wasm32")) {
            let _ = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        }
        let mapped = std::future::poll_fn(|context| {
            let mut done = done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match done.0.take() {
                Some(result) => std::task::Poll::Ready(result),
                None => {
                    done.1 = Some(context.waker().clone());
                    std::task::Poll::Pending
                }
            }
        })
        .await;
        self.check()?;
        mapped.map_err(|e| {
            Error::new(ErrorKind::DeviceLost, "the GPU gave no answer; open the model again").with_source(e)
        })?;
        let words = {
            let view = staging.slice(..).get_mapped_range().map_err(|e| {
                Error::new(ErrorKind::DeviceLost, "the GPU's answer cannot be read; open the model again")
                    .with_source(e)
            })?;
            bytemuck::cast_slice(&view).to_vec()
        };
        staging.unmap();
        Ok(words)
    }

    /// Copies all of `buffer` to the host: for tests and small results.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_all<T: bytemuck::AnyBitPattern>(&self, buffer: &wgpu::Buffer) -> Result<Vec<T>> {
        self.read_first(buffer, buffer.size()).await
    }

    /// Copies the first `size_bytes` of `buffer` to the host.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_first<T: bytemuck::AnyBitPattern>(
        &self,
        buffer: &wgpu::Buffer,
        size_bytes: u64,
    ) -> Result<Vec<T>> {
        let staging = self.staging(size_bytes);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size_bytes);
        self.queue.submit([encoder.finish()]);
        let words = self.read(&staging).await?;
        staging.destroy();
        Ok(words)
    }
}

impl Drop for Gpu {
    /// Frees the device's memory now: in a browser it would otherwise wait for a garbage collection.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

/// A pipeline and what is wrong with it.
fn build(
    device: &wgpu::Device,
    label: &str,
    wgsl: &str,
) -> (wgpu::ComputePipeline, impl Future<Output = Option<wgpu::Error>> + use<>) {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    });
    let bindings = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(label),
        entries: &(0u32..).zip(buffers_only_read(wgsl)).map(layout_entry).collect::<Vec<_>>(),
    });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &[Some(&bindings)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(label),
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    (pipeline, scope.pop())
}

fn accepted(pipeline: wgpu::ComputePipeline, fault: Option<wgpu::Error>, label: &str) -> Result<wgpu::ComputePipeline> {
    match fault {
        None => Ok(pipeline),
        Some(e) => Err(Error::new(ErrorKind::Internal, format!("the GPU driver refuses the kernel {label}: {e}"))),
    }
}

/// Whether each of the storage buffers that `wgsl` declares is only read, in order of their numbers.
///
/// A layout derived by the driver would leave out those a variant of a kernel happens not to read.
fn buffers_only_read(wgsl: &str) -> Vec<bool> {
    let declarations = wgsl.lines().filter(|line| line.starts_with("@group(0)"));
    declarations.map(|line| !line.contains("read_write")).collect()
}

fn layout_entry((binding, read_only): (u32, bool)) -> wgpu::BindGroupLayoutEntry {
    let ty = wgpu::BufferBindingType::Storage { read_only };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// WebGPU's defaults, with the adapter's own sizes of buffers and workgroup memory: large models need them, the default model does not.
fn wanted_limits(adapter: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        max_buffer_size: adapter.max_buffer_size,
        max_compute_workgroup_storage_size: adapter.max_compute_workgroup_storage_size,
        ..wgpu::Limits::default()
    }
}

/// Whether a GPU of this name is a program on the processor; not every driver tells it otherwise.
pub fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "swiftshader", "lavapipe", "software", "basic render"].iter().any(|known| name.contains(known))
}

/// Why the GPU `name`, a program on the processor, is not taken where there is a choice: it has the processor's strength and
/// more to do. The default model writes on it at a quarter to a tenth of the pace of our own path.
pub fn software_reason(name: &str) -> String {
    format!("the GPU {name} is a program on the processor, which is faster without it")
}

fn describe(info: &wgpu::AdapterInfo) -> String {
    let driver = [&info.driver, &info.driver_info].into_iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>();
    let name = if info.name.is_empty() { "WebGPU adapter" } else { &info.name };
    if driver.is_empty() { name.to_owned() } else { format!("{name} ({})", driver.join(" ")) }
}

/// Notes the first loss or uncaptured error of `device`.
fn watch(device: &wgpu::Device) -> Arc<Mutex<Option<Fault>>> {
    let fault = Arc::new(Mutex::new(None));
    let note = |fault: &Mutex<Option<Fault>>, lost, message| {
        let mut fault = fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        fault.get_or_insert(Fault { lost, message });
    };
    let on_lost = fault.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            note(&on_lost, true, message);
        }
    });
    let on_error = fault.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&on_error, false, error.to_string())));
    fault
}
