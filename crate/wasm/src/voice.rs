//! Which adapter takes part in writing, and how.

use std::{collections::BTreeMap, sync::Arc};

use imprint_core::{
    Error, ErrorKind, Result,
    adapter::{Adapter, check_weights},
    generate::{Guard, Mode},
    gguf_lora::{self, Beside},
    learn::{Choice, Recipe},
    peft,
    voice::Prints,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use crate::{
    engine::{ModelInfo, Open},
    learn::Measures,
    source::BlobSource,
    store::{
        adapters::{self, AdapterInfo, Files},
        seal, vault,
    },
    web::{field, read_object, set_field},
};

/// How an adapter takes part in writing; what is left out has the core's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Voice {
    /// How far the voice is carried.
    pub strength: Option<f32>,
    /// By which arithmetic.
    #[serde(deserialize_with = "mode")]
    pub mode: Option<Mode>,
    /// Which of the two kept states.
    pub state: Option<Choice>,
}

/// An adapter among those that speak at once.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Weighed {
    id: String,
    weight: f32,
}

/// The adapters that speak at once, as JavaScript names them: one by its id, several in a list with their weights, none as
/// null.
///
/// # Errors
/// `invalid-option` for anything else, and for weights that no mix has.
pub fn named(adapter: &JsValue) -> Result<Vec<Weighed>> {
    if let Some(id) = adapter.as_string() {
        return Ok(vec![Weighed { id, weight: 1.0 }]);
    }
    let all: Vec<Weighed> = read_object("adapters", adapter.clone())?;
    if !adapter.is_null() && !adapter.is_undefined() {
        check_weights(&all.iter().map(|one| one.weight).collect::<Vec<_>>())?;
    }
    Ok(all)
}

/// The adapters that a text asks for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Nothing is those in use, an empty list is none.
    adapters: Option<Vec<Weighed>>,
    voice: Voice,
}

impl Wanted {
    /// Reads it out of the options of a text.
    ///
    /// # Errors
    /// `invalid-option` for a value of another type.
    pub fn from_js(options: &JsValue) -> Result<Self> {
        let adapter = field(options, "adapter");
        let adapters = (!adapter.is_undefined()).then(|| named(&adapter)).transpose()?;
        Ok(Self { adapters, voice: read_object("options", options.clone())? })
    }
}

/// The adapters in use and those attached, which need not be the same: a text can be written with others in between.
#[derive(Debug, Default)]
pub struct Wardrobe {
    in_use: Option<(Vec<Weighed>, Voice)>,
    attached: Option<(Vec<Weighed>, Choice)>,
    /// Of the texts that the attached ones were learned from, as far as they are known.
    prints: Option<Arc<Prints>>,
    /// How often the store had been locked when the rest was true.
    locks: u32,
}

impl Wardrobe {
    /// Whether prints of a text of the attached adapters are known.
    pub fn prints(&self) -> bool {
        self.prints.is_some()
    }
}

impl Open {
    /// Writes with these adapters from now on.
    ///
    /// # Errors
    /// As [`Open::wear`]; those before are then still in use.
    pub async fn put_on(&mut self, info: &ModelInfo, adapters: Vec<Weighed>, voice: Voice) -> Result<()> {
        self.undress_if_locked();
        let wanted = (!adapters.is_empty()).then_some((adapters, voice));
        self.wear(info, wanted.as_ref().map(|(all, voice)| (&all[..], voice.state.unwrap_or_default()))).await?;
        self.wardrobe.in_use = wanted;
        Ok(())
    }

    /// Attaches what a text asks for: adapters, explicitly none, or what is in use. Gives their voice.
    ///
    /// # Errors
    /// As [`Open::wear`].
    pub async fn dress(&mut self, info: &ModelInfo, Wanted { adapters, voice: own }: Wanted) -> Result<Voice> {
        self.undress_if_locked();
        let in_use = self.wardrobe.in_use.clone();
        let wanted = match adapters {
            // What the text leaves open is as it is in use.
            None => in_use.map(|(all, used)| (all, own.or(used))),
            Some(all) => (!all.is_empty()).then(|| match in_use {
                Some((used, voice)) if used == all => (all, own.or(voice)),
                _ => (all, own),
            }),
        };
        let Some((all, voice)) = wanted else {
            return self.wear(info, None).await.map(|()| own);
        };
        self.wear(info, Some((&all, voice.state.unwrap_or_default()))).await?;
        Ok(voice)
    }

    /// Attaches kept adapters, several as one, or takes the attached ones off.
    ///
    /// # Errors
    /// `invalid-option` where there is no such adapter or the GPU does not take so many, `adapter-wrong-base`,
    /// `adapter-corrupt`, `device-lost`.
    async fn wear(&mut self, info: &ModelInfo, wanted: Option<(&[Weighed], Choice)>) -> Result<()> {
        let attached = self.wardrobe.attached.as_ref().map(|(all, state)| (&all[..], *state));
        if attached == wanted {
            return Ok(());
        }
        let Some((all, state)) = wanted else {
            self.bare();
            return Ok(());
        };
        let (mut voices, mut prints) = (Vec::with_capacity(all.len()), Vec::new());
        for Weighed { id, weight } in all {
            let (adapter, own) = self.kept(id, state, info).await?;
            voices.push((adapter, *weight));
            prints.extend(own);
        }
        let mixed;
        let adapter = match &voices[..] {
            [(adapter, 1.0)] => adapter,
            voices => {
                let voices: Vec<_> = voices.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
                mixed = Adapter::mix(&voices, self.model.config(), Some(&info.fingerprint))?;
                &mixed
            }
        };
        self.bare();
        self.model.attach(adapter, Some(&info.fingerprint)).await?;
        self.wardrobe.prints = (!prints.is_empty()).then(|| Arc::new(Prints::together(&prints)));
        self.wardrobe.attached = Some((all.to_vec(), state));
        Ok(())
    }

    /// A kept adapter of this model in one of its states, and the prints of its text, where it has some.
    async fn kept(&self, id: &str, state: Choice, info: &ModelInfo) -> Result<(Adapter, Option<Prints>)> {
        let (told, files) = adapters::get(id).await?;
        let weights = files.best.as_ref().filter(|_| state == Choice::Best).unwrap_or(&files.weights);
        let mut adapter = peft::import(files.config.as_bytes(), weights, self.model.config())?;
        adapter.base.get_or_insert(told.base);
        adapter.check(self.model.config(), Some(&info.fingerprint))?;
        Ok((adapter, files.prints.as_deref().map(Prints::from_bytes).transpose()?))
    }

    /// Forgets the adapters of a person who has locked them meanwhile.
    fn undress_if_locked(&mut self) {
        if self.wardrobe.locks != seal::locks() {
            self.bare();
            self.wardrobe.in_use = None;
            self.wardrobe.locks = seal::locks();
        }
    }

    /// Takes the attached adapters off; those in use are put on again by the next text.
    pub fn bare(&mut self) {
        self.model.detach();
        self.wardrobe.attached = None;
        self.wardrobe.prints = None;
    }

    /// What a text with the attached adapters is compared with: the texts of all of them that have prints; nothing without
    /// an adapter.
    ///
    /// # Errors
    /// `invalid-option` for too small a run, and for wishes that adapters without prints cannot grant.
    pub fn guard(&self, most_copied_words: Option<usize>, without_names: bool) -> Result<Option<Guard>> {
        most_copied_words.map_or(Ok(()), Guard::check)?;
        match &self.wardrobe.prints {
            Some(prints) => Ok(Some(Guard { most_copied_words, without_names, prints: Arc::clone(prints) })),
            None if self.wardrobe.attached.is_some() && (most_copied_words.is_some() || without_names) => {
                let message = "this adapter came without the prints of its text, so copies and names cannot be told; \
                    leave maxCopiedWords and withoutNames out, or learn it again";
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
            None => Ok(None),
        }
    }
}

impl Voice {
    /// This one, with what it leaves open taken from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            strength: self.strength.or(other.strength),
            mode: self.mode.or(other.mode),
            state: self.state.or(other.state),
        }
    }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mode>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let known = Mode::from_name(&name);
    known.map(Some).ok_or_else(|| de::Error::custom(format!("no mode is called {name}; known: contrast, scale")))
}

/// Takes an adapter in from llama.cpp's GGUF file, of which no more than the header is read where it is none of this model.
///
/// # Errors
/// As [`gguf_lora::import`] and [`take_in`].
pub async fn take_in_gguf(open: &Open, info: &ModelInfo, file: Blob, told: &JsValue) -> Result<AdapterInfo> {
    vault::check_unlocked().await?;
    let config = open.model.config();
    let (adapter, Beside { notes, prints }) = gguf_lora::import(&BlobSource::new(file), config).await?;
    if let Some(name) = notes.get("name").filter(|_| field(told, "name").is_undefined()) {
        set_field(told, "name", &name.as_str().into());
    }
    let written = peft::export(&adapter, config, &notes)?;
    let files = Files { config: written.config_json, weights: written.safetensors, best: None, prints };
    take_in(open, info, files, told).await
}

/// Gives a kept adapter as llama.cpp's GGUF file, its name and prints inside.
///
/// # Errors
/// `invalid-option` where there is no such adapter, `adapter-wrong-base` for another model's.
pub async fn to_gguf(open: &Open, info: &ModelInfo, id: &str) -> Result<Vec<u8>> {
    let (told, files) = adapters::get(id).await?;
    let mut adapter = peft::import(files.config.as_bytes(), &files.weights, open.model.config())?;
    adapter.base.get_or_insert(told.base);
    adapter.check(open.model.config(), Some(&info.fingerprint))?;
    let mut notes: BTreeMap<String, String> = peft::notes(&files.weights)?;
    notes.insert("name".into(), told.name);
    gguf_lora::export(&adapter, open.model.config(), &Beside { notes, prints: files.prints })
}

/// Takes an adapter in from its files and what is told beside, of which only what makes sense is believed.
///
/// # Errors
/// As [`peft::import`] and [`Prints::from_bytes`]; `adapter-wrong-base`, `locked`, `storage-full`.
pub async fn take_in(open: &Open, info: &ModelInfo, files: Files, told: &JsValue) -> Result<AdapterInfo> {
    vault::check_unlocked().await?;
    let adapter = peft::import(files.config.as_bytes(), &files.weights, open.model.config())?;
    files.prints.as_deref().map(Prints::from_bytes).transpose()?;
    adapter.check(open.model.config(), Some(&info.fingerprint))?;
    let name = field(told, "name").as_string().unwrap_or_default();
    let mut made = AdapterInfo::new(&name, &info.fingerprint, &info.name)?;
    let believed = |name| serde_wasm_bindgen::from_value::<Value>(field(told, name)).unwrap_or_default();
    let (recipe, measures) = (believed("recipe"), believed("measures"));
    if serde_json::from_value::<Recipe>(recipe.clone()).is_ok() {
        made.recipe = recipe;
    }
    if serde_json::from_value::<Measures>(measures.clone()).is_ok() {
        made.measures = measures;
    }
    made.prints = files.prints.is_some();
    made.size_bytes = files.size_bytes();
    adapters::keep(&made, &files).await?;
    Ok(made)
}
