//! What JavaScript calls.

use js_sys::Function;
use wasm_bindgen::prelude::*;
use web_sys::{AbortSignal, Blob};

#[cfg(feature = "learn")]
use crate::learn::{Hooks, Report};
use crate::{
    engine::{self, Named, Progress},
    inspect,
    store::{self, adapters, adapters::Files, models, runs, seal, vault},
    voice::{self, Wanted},
    web::{object, read_object, set_field, to_js},
};

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs once when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    // SAFETY: runs what the linker collected, once. Naming it here also keeps the linker from running all of it again
    // before every call from JavaScript, which costs milliseconds.
    unsafe { __wasm_call_ctors() };
    console_error_panic_hook::set_once();
}

/// An open model.
#[wasm_bindgen]
pub struct Engine(engine::Engine);

#[wasm_bindgen]
impl Engine {
    /// Finds or fetches the model and loads it.
    pub async fn open(
        model: JsValue,
        options: JsValue,
        on_progress: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<Engine, JsValue> {
        let tell = |progress: Progress| tell(on_progress.as_ref(), &progress);
        let model = Named::from_js(model).map_err(to_js)?;
        let options = read_object("options", options).map_err(to_js)?;
        engine::Engine::open(model, options, &tell, signal.as_ref()).await.map(Engine).map_err(to_js)
    }

    /// The device that computes and, where it is not the GPU, why.
    pub fn device(&self) -> Result<JsValue, JsValue> {
        object(self.0.device()).map_err(to_js)
    }

    /// What the model's file says about itself.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        object(self.0.info()).map_err(to_js)
    }

    /// Takes a prompt and its options; `next` then does the work.
    pub async fn begin(&self, prompt: String, options: JsValue) -> Result<(), JsValue> {
        let wanted = Wanted::from_js(&options).map_err(to_js)?;
        let options = read_object("options", options).map_err(to_js)?;
        self.0.begin(&prompt, options, wanted).await.map_err(to_js)
    }

    /// Reads some of the prompt, or writes the next piece.
    #[allow(clippy::should_implement_trait)] // JavaScript's name.
    pub async fn next(&self) -> Result<JsValue, JsValue> {
        self.0.next().await.and_then(|step| object(&step)).map_err(to_js)
    }

    /// Ends the text before its time and gives what was held back of it.
    pub fn end(&self) -> Result<String, JsValue> {
        self.0.end().map_err(to_js)
    }

    /// Scores a text.
    pub async fn score(&self, text: String, options: JsValue, signal: Option<AbortSignal>) -> Result<JsValue, JsValue> {
        let wanted = Wanted::from_js(&options).map_err(to_js)?;
        self.0.score(&text, wanted, signal.as_ref()).await.and_then(|score| object(&score)).map_err(to_js)
    }

    /// Writes with an adapter from now on, with several at once, or with none.
    #[wasm_bindgen(js_name = use)]
    pub async fn use_adapters(&self, adapter: JsValue, options: JsValue) -> Result<(), JsValue> {
        let voice = read_object("options", options).map_err(to_js)?;
        let adapters = voice::named(&adapter).map_err(to_js)?;
        self.0.use_adapters(adapters, voice).await.map_err(to_js)
    }

    /// Takes an adapter in from PEFT's two files and the prints of its text, where there are some.
    #[wasm_bindgen(js_name = importAdapter)]
    pub async fn import_adapter(
        &self,
        config: String,
        weights: Vec<u8>,
        told: JsValue,
        prints: Option<Vec<u8>>,
    ) -> Result<JsValue, JsValue> {
        let files = Files { config, weights, best: None, prints };
        self.0.import_adapter(files, told).await.and_then(|info| object(&info)).map_err(to_js)
    }

    /// Takes an adapter in from llama.cpp's GGUF file.
    #[wasm_bindgen(js_name = importGguf)]
    pub async fn import_gguf(&self, file: Blob, told: JsValue) -> Result<JsValue, JsValue> {
        self.0.import_gguf(file, told).await.and_then(|info| object(&info)).map_err(to_js)
    }

    /// Gives a kept adapter as llama.cpp's GGUF file.
    #[wasm_bindgen(js_name = exportGguf)]
    pub async fn export_gguf(&self, id: String) -> Result<Vec<u8>, JsValue> {
        self.0.export_gguf(&id).await.map_err(to_js)
    }

    /// Compares the GPU's numbers with the processor's, on request in every cut of the kernels.
    #[wasm_bindgen(js_name = selfTest)]
    pub async fn self_test(&self, prompt: Option<String>, all_cuts: bool) -> Result<JsValue, JsValue> {
        self.0.self_test(prompt, all_cuts).await.and_then(|report| object(&report)).map_err(to_js)
    }

    /// Counters for measuring.
    pub fn stats(&self) -> Result<JsValue, JsValue> {
        self.0.stats().and_then(|stats| object(&stats)).map_err(to_js)
    }

    /// Frees the model.
    pub fn close(&self) {
        self.0.close();
    }
}

/// What learns.
#[cfg(feature = "learn")]
#[wasm_bindgen]
impl Engine {
    /// Tells what learning from a list of `{ name, bytes }` would do.
    pub async fn plan(&self, texts: JsValue, options: JsValue) -> Result<JsValue, JsValue> {
        let options = read_object("options", options).map_err(to_js)?;
        self.0.plan(&texts, &options).await.and_then(|planned| object(&planned)).map_err(to_js)
    }

    /// Learns an adapter from a list of `{ name, bytes }`.
    pub async fn learn(
        &self,
        texts: JsValue,
        options: JsValue,
        on_progress: Option<Function>,
        signal: Option<AbortSignal>,
        pause: Option<AbortSignal>,
    ) -> Result<JsValue, JsValue> {
        let options = read_object("options", options).map_err(to_js)?;
        let tell = |report: &Report<'_>| tell(on_progress.as_ref(), report);
        let hooks = Hooks { on_progress: &tell, signal: signal.as_ref(), pause: pause.as_ref() };
        self.0.learn(&texts, &options, &hooks).await.and_then(|learned| object(&learned)).map_err(to_js)
    }

    /// Goes on with a run that was paused or broken off.
    pub async fn resume(
        &self,
        run: String,
        on_progress: Option<Function>,
        signal: Option<AbortSignal>,
        pause: Option<AbortSignal>,
    ) -> Result<JsValue, JsValue> {
        let tell = |report: &Report<'_>| tell(on_progress.as_ref(), report);
        let hooks = Hooks { on_progress: &tell, signal: signal.as_ref(), pause: pause.as_ref() };
        self.0.resume(&run, &hooks).await.and_then(|learned| object(&learned)).map_err(to_js)
    }

    /// Learns a few steps from given numbers and keeps nothing.
    #[wasm_bindgen(js_name = learningTest)]
    pub async fn learning_test(
        &self,
        options: JsValue,
        parameters: Option<Vec<f32>>,
        on_step: Option<Function>,
        signal: Option<AbortSignal>,
    ) -> Result<JsValue, JsValue> {
        let options = read_object("options", options).map_err(to_js)?;
        let tell = |step: usize| tell(on_step.as_ref(), &step);
        let report = self.0.learning_test(&options, parameters, &tell, signal.as_ref()).await;
        report.and_then(|report| object(&report)).map_err(to_js)
    }
}

/// In the module that only writes the names are there, and say so.
#[cfg(not(feature = "learn"))]
#[wasm_bindgen]
impl Engine {
    /// Refuses.
    pub fn plan(&self) -> Result<JsValue, JsValue> {
        Err(only_writes())
    }

    /// Refuses.
    pub fn learn(&self) -> Result<JsValue, JsValue> {
        Err(only_writes())
    }

    /// Refuses.
    pub fn resume(&self) -> Result<JsValue, JsValue> {
        Err(only_writes())
    }

    /// Refuses.
    #[wasm_bindgen(js_name = learningTest)]
    pub fn learning_test(&self) -> Result<JsValue, JsValue> {
        Err(only_writes())
    }
}

#[cfg(not(feature = "learn"))]
fn only_writes() -> JsValue {
    let what = "this is the module that only writes; open the model without the worker named to learn";
    to_js(imprint_core::Error::new(imprint_core::ErrorKind::InvalidOption, what))
}

/// Tells a listener; whatever it throws is its own affair.
fn tell(listener: Option<&Function>, progress: &impl serde::Serialize) {
    if let (Some(listener), Ok(progress)) = (listener, object(progress)) {
        let _ = listener.call1(&JsValue::UNDEFINED, &progress);
    }
}

/// Reads the header of a model: what it is and where it runs.
#[wasm_bindgen(js_name = inspect)]
pub async fn inspect_model(model: JsValue, signal: Option<AbortSignal>) -> Result<JsValue, JsValue> {
    let model = Named::from_js(model).map_err(to_js)?;
    inspect::inspect(model, signal.as_ref()).await.and_then(|found| object(&found)).map_err(to_js)
}

/// The models that this browser keeps.
#[wasm_bindgen(js_name = storedModels)]
pub async fn stored_models() -> Result<JsValue, JsValue> {
    object(&models::list().await).map_err(to_js)
}

/// Removes a kept model, or what has arrived of it; with `hash` also what later downloads from there are held to.
#[wasm_bindgen(js_name = forgetModel)]
pub async fn forget_model(url: String, hash: Option<bool>) -> Result<(), JsValue> {
    models::forget(&url, hash.unwrap_or(false)).await.map_err(to_js)
}

/// The adapters that this browser keeps.
#[wasm_bindgen(js_name = listAdapters)]
pub async fn list_adapters() -> Result<JsValue, JsValue> {
    adapters::list().await.and_then(|found| object(&found)).map_err(to_js)
}

/// Gives a kept adapter another name.
#[wasm_bindgen(js_name = renameAdapter)]
pub async fn rename_adapter(id: String, name: String) -> Result<(), JsValue> {
    adapters::rename(&id, &name).await.map_err(to_js)
}

/// Removes a kept adapter.
#[wasm_bindgen(js_name = deleteAdapter)]
pub async fn delete_adapter(id: String) -> Result<(), JsValue> {
    adapters::delete(&id).await.map_err(to_js)
}

/// What is told of a kept adapter, and its files.
#[wasm_bindgen(js_name = exportAdapter)]
pub async fn export_adapter(id: String) -> Result<JsValue, JsValue> {
    let (info, files) = adapters::get(&id).await.map_err(to_js)?;
    let exported = files.to_js();
    set_field(&exported, "info", &object(&info).map_err(to_js)?);
    Ok(exported)
}

/// The texts that are kept beside an adapter, a list of `{ name, bytes }`.
#[wasm_bindgen(js_name = adapterTexts)]
pub async fn adapter_texts(id: String) -> Result<JsValue, JsValue> {
    adapters::texts(&id).await.map_err(to_js)
}

/// Removes the texts that are kept beside an adapter.
#[wasm_bindgen(js_name = forgetTexts)]
pub async fn forget_texts(id: String) -> Result<(), JsValue> {
    adapters::forget_texts(&id).await.map_err(to_js)
}

/// The runs of learning that can go on.
#[wasm_bindgen(js_name = listRuns)]
pub async fn list_runs() -> Result<JsValue, JsValue> {
    runs::list().await.and_then(|found| object(&found)).map_err(to_js)
}

/// Removes a run with its texts.
#[wasm_bindgen(js_name = discardRun)]
pub async fn discard_run(id: String) -> Result<(), JsValue> {
    let _alone = runs::learn_alone().await.map_err(to_js)?;
    runs::discard(&id).await.map_err(to_js)
}

/// How much this browser keeps.
#[wasm_bindgen(js_name = storageUsage)]
pub async fn storage_usage() -> Result<JsValue, JsValue> {
    store::usage().await.and_then(|usage| object(&usage)).map_err(to_js)
}

/// Removes everything of ours from this browser.
#[wasm_bindgen(js_name = forgetEverything)]
pub async fn forget_everything() -> Result<(), JsValue> {
    store::forget_everything().await.map_err(to_js)
}

/// Reads and writes what is kept with a data key from now on.
#[wasm_bindgen(js_name = unlock)]
pub fn unlock(id: String, key: JsValue) {
    seal::hold(id, key);
}

/// Gives the data key up.
#[wasm_bindgen(js_name = lock)]
pub fn lock() {
    seal::give_up();
}

/// Seals all that is kept, and what will be.
#[wasm_bindgen(js_name = seal)]
pub async fn seal_all(record: JsValue, key: JsValue) -> Result<(), JsValue> {
    vault::begin(&record, key).await.map_err(to_js)
}

/// Goes on with a turning over that was broken off.
#[wasm_bindgen(js_name = turn)]
pub async fn turn_all() -> Result<(), JsValue> {
    vault::turn().await.map_err(to_js)
}

/// Puts another wrapping of the same data key in the place of the one before.
#[wasm_bindgen(js_name = rewrap)]
pub async fn rewrap(record: JsValue) -> Result<(), JsValue> {
    vault::rewrap(&record).await.map_err(to_js)
}

/// Opens all that is kept, and what will be.
#[wasm_bindgen(js_name = unseal)]
pub async fn unseal_all(id: String, raw: js_sys::Uint8Array) -> Result<(), JsValue> {
    vault::remove(&id, &raw).await.map_err(to_js)
}
