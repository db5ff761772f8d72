//! What all of this crate needs of JavaScript: errors both ways, the event loop, locks.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, MessageChannel};

#[wasm_bindgen]
extern "C" {
    /// Milliseconds on a clock that never goes back.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub fn now_ms() -> f64;

    // The global is the same on a page and in a worker, unlike the types of `web-sys`. Where a browser has no locks, the
    // call throws.
    #[wasm_bindgen(js_namespace = ["navigator", "locks"], js_name = request, catch)]
    fn request_lock(name: &str, options: &JsValue, callback: &JsValue) -> Result<Promise, JsValue>;
}

/// The field `name` of an object; undefined where there is none.
pub fn field(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Sets the field `name` of an object of ours, which cannot fail.
pub fn set_field(object: &JsValue, name: &str, value: &JsValue) {
    let _ = Reflect::set(object, &name.into(), value);
}

/// The name of an exception, such as `QuotaExceededError`.
pub fn name_of(thrown: &JsValue) -> String {
    field(thrown, "name").as_string().unwrap_or_default()
}

/// What an exception says.
pub fn message_of(thrown: &JsValue) -> String {
    let message = field(thrown, "message").as_string().or_else(|| thrown.as_string());
    message.unwrap_or_else(|| "an exception without a message".to_owned())
}

/// An exception as an error of ours: `cancelled` where the caller stopped, else `kind` with its sentence.
pub fn caught(kind: ErrorKind, what: &str, thrown: &JsValue) -> Error {
    if name_of(thrown) == "AbortError" {
        return cancelled();
    }
    Error::new(kind, format!("{what}: {}", message_of(thrown)))
}

/// The error of work that the caller stopped.
pub fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled by the caller")
}

/// Refuses to go on after the caller gave up.
///
/// # Errors
/// `cancelled`.
pub fn check_signal(signal: Option<&AbortSignal>) -> Result<()> {
    if signal.is_some_and(AbortSignal::aborted) { Err(cancelled()) } else { Ok(()) }
}

/// An error as JavaScript sees it: an `Error` with `code`, and `cause` where something underneath says more.
pub fn to_js(error: Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.to_string());
    set_field(&thrown, "code", &error.code().into());
    if let Some(source) = std::error::Error::source(&error) {
        set_field(&thrown, "cause", &js_sys::Error::new(&source.to_string()).into());
    }
    thrown.into()
}

/// A plain object out of `value`.
///
/// # Errors
/// `internal`: our own types always can be turned into objects.
pub fn object<T: serde::Serialize>(value: &T) -> Result<JsValue> {
    let serializer =
        serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true).serialize_missing_as_null(true);
    value.serialize(&serializer).map_err(|e| Error::new(ErrorKind::Internal, format!("no object: {e}")))
}

/// Reads `what` the caller gave.
///
/// # Errors
/// `invalid-option` saying what does not fit.
pub fn read_object<T: serde::de::DeserializeOwned + Default>(what: &str, value: JsValue) -> Result<T> {
    if value.is_undefined() || value.is_null() {
        return Ok(T::default());
    }
    serde_wasm_bindgen::from_value(value).map_err(|e| {
        let why = message_of(&e.into());
        Error::new(ErrorKind::InvalidOption, format!("the {what} cannot be used: {why}"))
    })
}

/// Bytes of this module's memory.
pub fn wasm_bytes() -> u64 {
    let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    field(&memory.buffer(), "byteLength").as_f64().unwrap_or(0.0) as u64
}

/// Waits for a promise.
pub async fn settle(promise: Result<Promise, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(promise?).await
}

/// Lets events through: messages and clicks wait while one microtask follows another.
pub async fn breathe() {
    let Ok(channel) = MessageChannel::new() else { return };
    let (here, there) = (channel.port1(), channel.port2());
    let message = Promise::new(&mut |resolve, _| {
        here.set_onmessage(Some(&resolve));
        let _ = there.post_message(&JsValue::NULL);
    });
    let _ = JsFuture::from(message).await;
    here.close();
}

/// A lock over all tabs of this origin, held until dropped.
pub struct Lock(Option<Function>);

impl Lock {
    /// Waits for the lock `name`. A browser without locks gives an empty one: two tabs then may load the same file twice.
    ///
    /// # Errors
    /// `cancelled` when `signal` comes first.
    pub async fn wait(name: &str, signal: Option<&AbortSignal>) -> Result<Self> {
        let options = Object::new();
        if let Some(signal) = signal {
            set_field(&options, "signal", signal);
        }
        match Self::request(name, &options).await {
            Ok((_, lock)) => Ok(lock),
            Err(_) => check_signal(signal).map(|()| Self(None)),
        }
    }

    /// Takes the lock `name` if nobody has it; `None` if somebody does. A browser without locks always gives it.
    pub async fn take(name: &str) -> Option<Self> {
        let options = Object::new();
        set_field(&options, "ifAvailable", &JsValue::TRUE);
        match Self::request(name, &options).await {
            Ok((granted, lock)) => granted.then_some(lock),
            Err(_) => Some(Self(None)),
        }
    }

    /// Asks for a lock; gives whether it was granted, and the lock.
    async fn request(name: &str, options: &Object) -> Result<(bool, Self), JsValue> {
        let mut release = None;
        let held = Promise::new(&mut |resolve, _| release = Some(resolve));
        let mut requested = Err(JsValue::UNDEFINED);
        let acquired = Promise::new(&mut |resolve, _| {
            let held = held.clone();
            let callback = Closure::once_into_js(move |lock: JsValue| {
                let granted = !lock.is_null();
                let _ = resolve.call1(&JsValue::UNDEFINED, &granted.into());
                held
            });
            requested = request_lock(name, options, &callback);
        });
        // The request settles only when the lock is given back, unless it fails.
        let first = Promise::race(&Array::of2(&acquired, &requested?.into()));
        let granted = JsFuture::from(first).await?.is_truthy();
        Ok((granted, Self(release)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = &self.0 {
            let _ = release.call0(&JsValue::UNDEFINED);
        }
    }
}
