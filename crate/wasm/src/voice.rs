//! Which adapter takes part in writing, and how.

use std::sync::Arc;

use imprint_core::{
    Error, ErrorKind, Result,
    generate::{Guard, Mode},
    learn::{Choice, Recipe},
    peft,
    voice::Prints,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use wasm_bindgen::prelude::*;

use crate::{
    engine::{ModelInfo, Open},
    learn::Measures,
    store::{
        adapters::{self, AdapterInfo, Files},
        seal, vault,
    },
    web::{field, read_object},
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

/// The adapter that a text asks for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Nothing is the one in use, null is none.
    adapter: Option<Option<String>>,
    voice: Voice,
}

impl Wanted {
    /// Reads it out of the options of a text.
    ///
    /// # Errors
    /// `invalid-option` for a value of another type.
    pub fn from_js(options: &JsValue) -> Result<Self> {
        let adapter = field(options, "adapter");
        let adapter = (!adapter.is_undefined()).then(|| adapter.as_string());
        Ok(Self { adapter, voice: read_object("options", options.clone())? })
    }
}

/// The adapter in use and the one attached, which need not be the same: a text can be written with another in between.
#[derive(Debug, Default)]
pub struct Wardrobe {
    in_use: Option<(String, Voice)>,
    attached: Option<(String, Choice)>,
    /// Of the text that the attached one was learned from.
    prints: Option<Arc<Prints>>,
    /// How often the store had been locked when the rest was true.
    locks: u32,
}

impl Wardrobe {
    /// Whether the prints of the attached adapter's text are known.
    pub fn prints(&self) -> bool {
        self.prints.is_some()
    }
}

impl Open {
    /// Writes with an adapter from now on, or with none.
    ///
    /// # Errors
    /// As [`Open::wear`]; the one before is then still in use.
    pub async fn put_on(&mut self, info: &ModelInfo, adapter: Option<String>, voice: Voice) -> Result<()> {
        self.undress_if_locked();
        let wanted = adapter.map(|id| (id, voice));
        self.wear(info, wanted.as_ref().map(|(id, voice)| (id.as_str(), voice.state.unwrap_or_default()))).await?;
        self.wardrobe.in_use = wanted;
        Ok(())
    }

    /// Attaches what a text asks for: an adapter, explicitly none, or what is in use. Gives its voice.
    ///
    /// # Errors
    /// As [`Open::wear`].
    pub async fn dress(&mut self, info: &ModelInfo, Wanted { adapter, voice: own }: Wanted) -> Result<Voice> {
        self.undress_if_locked();
        let in_use = self.wardrobe.in_use.clone();
        let wanted = match adapter {
            // What the text leaves open is as it is in use.
            None => in_use.map(|(id, used)| (id, own.or(used))),
            Some(id) => id.map(|id| match in_use {
                Some((used, voice)) if used == id => (id, own.or(voice)),
                _ => (id, own),
            }),
        };
        let Some((id, voice)) = wanted else {
            return self.wear(info, None).await.map(|()| own);
        };
        self.wear(info, Some((&id, voice.state.unwrap_or_default()))).await?;
        Ok(voice)
    }

    /// Attaches a kept adapter, or takes the attached one off.
    ///
    /// # Errors
    /// `invalid-option` where there is no such adapter, `adapter-wrong-base`, `adapter-corrupt`, `device-lost`.
    async fn wear(&mut self, info: &ModelInfo, wanted: Option<(&str, Choice)>) -> Result<()> {
        let attached = self.wardrobe.attached.as_ref().map(|(id, state)| (id.as_str(), *state));
        if attached == wanted {
            return Ok(());
        }
        let Some((id, state)) = wanted else {
            self.bare();
            return Ok(());
        };
        let (told, files) = adapters::get(id).await?;
        let weights = files.best.as_ref().filter(|_| state == Choice::Best).unwrap_or(&files.weights);
        let mut adapter = peft::import(files.config.as_bytes(), weights, self.model.config())?;
        adapter.base.get_or_insert(told.base);
        let prints = files.prints.as_deref().map(Prints::from_bytes).transpose()?;
        self.bare();
        self.model.attach(&adapter, Some(&info.fingerprint)).await?;
        self.wardrobe.prints = prints.map(Arc::new);
        self.wardrobe.attached = Some((id.to_owned(), state));
        Ok(())
    }

    /// Forgets the adapters of a person who has locked them meanwhile.
    fn undress_if_locked(&mut self) {
        if self.wardrobe.locks != seal::locks() {
            self.bare();
            self.wardrobe.in_use = None;
            self.wardrobe.locks = seal::locks();
        }
    }

    /// Takes the attached adapter off; the one in use is put on again by the next text.
    pub fn bare(&mut self) {
        self.model.detach();
        self.wardrobe.attached = None;
        self.wardrobe.prints = None;
    }

    /// What a text with the attached adapter is compared with; nothing without an adapter.
    ///
    /// # Errors
    /// `invalid-option` for too small a run, and for wishes that an adapter without prints cannot grant.
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
