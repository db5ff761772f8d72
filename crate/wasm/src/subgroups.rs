//! Subgroups for devices in a browser: wgpu's web backend has no name for the feature, so it is added to the request here.

use std::{cell::Cell, rc::Rc};

use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::web::{field, set_field};

/// The feature's name in WebGPU.
const FEATURE: &str = "subgroups";
/// The method of `navigator.gpu` that is stood in front of.
const REQUEST: &str = "requestAdapter";

/// While it lives, adapters asked for come with a `requestDevice` that asks for subgroups too, where they have them.
///
/// Only those adapters are touched, not the browser's classes: other GPU code of the page keeps what it has.
pub struct Subgroups {
    gpu: Object,
    size: Rc<Cell<Option<u32>>>,
    /// What JavaScript calls; dropped after the property that names it.
    _request: Closure<dyn FnMut(JsValue) -> JsValue>,
}

impl Subgroups {
    /// Stands in front of `navigator.gpu.requestAdapter`; `None` where there is no such thing.
    pub fn offer() -> Option<Self> {
        let gpu: Object = field(&field(&js_sys::global(), "navigator"), "gpu").dyn_into().ok()?;
        let own: Function = field(&gpu, REQUEST).dyn_into().ok()?;
        let size = Rc::new(Cell::new(None));
        let (this, told) = (gpu.clone(), size.clone());
        let request = Closure::new(move |options: JsValue| -> JsValue {
            let told = told.clone();
            let adapter = own.call1(&this, &options).map(|promise| Promise::resolve(&promise));
            future_to_promise(async move {
                let adapter = JsFuture::from(adapter?).await?;
                ask_too(&adapter, told);
                Ok(adapter)
            })
            .into()
        });
        set_field(&gpu, REQUEST, request.as_ref());
        Some(Self { gpu, size, _request: request })
    }

    /// The smallest subgroup of the device that was made meanwhile, if it was made with subgroups.
    pub fn size(&self) -> Option<u32> {
        self.size.get()
    }
}

impl Drop for Subgroups {
    fn drop(&mut self) {
        // The browser's own method shows again.
        let _ = Reflect::delete_property(&self.gpu, &REQUEST.into());
    }
}

/// Gives `adapter` a `requestDevice` of its own that adds the feature and tells the subgroups' size.
fn ask_too(adapter: &JsValue, told: Rc<Cell<Option<u32>>>) {
    let features = field(adapter, "features");
    let has = field(&features, "has").dyn_into::<Function>().and_then(|has| has.call1(&features, &FEATURE.into()));
    let size = field(&field(adapter, "info"), "subgroupMinSize").as_f64().map_or(0, |size| size as u32);
    let Ok(own) = field(adapter, "requestDevice").dyn_into::<Function>() else { return };
    if size == 0 || !has.is_ok_and(|has| has.is_truthy()) {
        return;
    }
    let this = adapter.clone();
    let request = Closure::once_into_js(move |descriptor: JsValue| -> JsValue {
        let wanted = field(&descriptor, "requiredFeatures").dyn_into::<Array>().unwrap_or_default();
        wanted.push(&FEATURE.into());
        set_field(&descriptor, "requiredFeatures", &wanted);
        told.set(Some(size));
        own.call1(&this, &descriptor).unwrap_or_else(|thrown| Promise::reject(&thrown).into())
    });
    set_field(adapter, "requestDevice", &request);
}
