//! Kernels compiled by the browser on threads of its own, so that neither the page nor the weights on their way wait.
//!
//! wgpu asks for a pipeline in the way that has the browser's GPU thread compile it and everything else queue behind. So the
//! same pipeline is asked for in the other way first: browsers find the second one among those they have.

use std::any::Any;

use imprint_core::kernels::gpu::Ahead;
use js_sys::{Array, Object, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::web::set_field;

#[wasm_bindgen]
extern "C" {
    /// A `GPUDevice`.
    type Device;
    #[wasm_bindgen(method, js_name = createShaderModule)]
    fn create_shader_module(this: &Device, descriptor: &Object) -> JsValue;
    #[wasm_bindgen(method, js_name = createBindGroupLayout)]
    fn create_bind_group_layout(this: &Device, descriptor: &Object) -> JsValue;
    #[wasm_bindgen(method, js_name = createPipelineLayout)]
    fn create_pipeline_layout(this: &Device, descriptor: &Object) -> JsValue;
    #[wasm_bindgen(method, js_name = createComputePipelineAsync)]
    fn create_compute_pipeline_async(this: &Device, descriptor: &Object) -> Promise;
    #[wasm_bindgen(method, js_name = pushErrorScope)]
    fn push_error_scope(this: &Device, filter: &str);
    #[wasm_bindgen(method, js_name = popErrorScope)]
    fn pop_error_scope(this: &Device) -> Promise;
}

/// `GPUShaderStage.COMPUTE`.
const COMPUTE: u32 = 4;

/// What the device asks before it builds a kernel.
pub fn ahead() -> Ahead {
    Box::new(|device, text, only_read| {
        let device: Option<Device> = device.as_webgpu().map(|raw| JsValue::from(raw.clone()).unchecked_into());
        let compiled = device.map(|device| JsFuture::from(compile(&device, text, only_read)));
        Box::pin(async move {
            // A text that is refused is refused again, and told of, when the pipeline itself is asked for.
            match compiled {
                Some(compiled) => Box::new(compiled.await) as Box<dyn Any>,
                None => Box::new(()),
            }
        })
    })
}

fn compile(device: &Device, text: &str, only_read: &[bool]) -> Promise {
    device.push_error_scope("validation");
    let module = device.create_shader_module(&object(&[("code", text.into())]));
    let entry = |(binding, only_read): (usize, &bool)| -> JsValue {
        let kind = if *only_read { "read-only-storage" } else { "storage" };
        let buffer = object(&[("type", kind.into())]);
        object(&[("binding", binding.into()), ("visibility", COMPUTE.into()), ("buffer", buffer.into())]).into()
    };
    let entries: Array = only_read.iter().enumerate().map(entry).collect();
    let bindings = device.create_bind_group_layout(&object(&[("entries", entries.into())]));
    let layout = device.create_pipeline_layout(&object(&[("bindGroupLayouts", Array::of1(&bindings).into())]));
    let compute = object(&[("module", module), ("entryPoint", "main".into())]);
    let pipeline = device.create_compute_pipeline_async(&object(&[("layout", layout), ("compute", compute.into())]));
    // Told of later: see above. Yet someone listens, or a GPU that goes away meanwhile is an error that nobody caught.
    drop(JsFuture::from(device.pop_error_scope()));
    pipeline
}

fn object(fields: &[(&str, JsValue)]) -> Object {
    let made = Object::new();
    fields.iter().for_each(|(name, value)| set_field(&made, name, value));
    made
}
