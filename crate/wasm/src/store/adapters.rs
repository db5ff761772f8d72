//! The adapters that this browser keeps.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Date, Uint8Array};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasm_bindgen::prelude::*;

use crate::{
    store::{
        database::{self, Change, Table},
        new_id,
    },
    web::{field, object, set_field},
};

/// What is told of an adapter, as JavaScript sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdapterInfo {
    /// Its name in this browser.
    pub id: String,
    /// The person's name for it.
    pub name: String,
    /// When it was learned or imported, and when last renamed, in milliseconds since 1970.
    pub created_ms: f64,
    /// See above.
    pub updated_ms: f64,
    /// The fingerprint of the model it belongs to.
    pub base: String,
    /// That model's name.
    pub model: String,
    /// Bytes of its files.
    pub size_bytes: f64,
    /// Bytes of the texts kept beside it; 0 where nobody asked for that.
    #[serde(default)]
    pub text_bytes: f64,
    /// Whether the prints of its text are kept with it, by which copies and names are told.
    #[serde(default)]
    pub prints: bool,
    /// How it was learned; null for one that came without.
    pub recipe: Value,
    /// What was measured while learning; null for one that came without.
    pub measures: Value,
}

/// An adapter's files in PEFT's layout.
pub struct Files {
    /// `adapter_config.json`.
    pub config: String,
    /// `adapter_model.safetensors` of the fullest state.
    pub weights: Vec<u8>,
    /// The same of the state that foresees the held-out text best, where that is another.
    pub best: Option<Vec<u8>>,
    /// The prints of the text it was learned from; adapters from elsewhere have none.
    pub prints: Option<Vec<u8>>,
}

impl Files {
    /// As an object of JavaScript.
    pub fn to_js(&self) -> JsValue {
        let files = js_sys::Object::new();
        set_field(&files, "config", &self.config.as_str().into());
        set_field(&files, "weights", &Uint8Array::from(self.weights.as_slice()));
        for (name, bytes) in [("best", &self.best), ("prints", &self.prints)] {
            if let Some(bytes) = bytes {
                set_field(&files, name, &Uint8Array::from(bytes.as_slice()));
            }
        }
        files.into()
    }

    /// Bytes of the weights and the prints.
    pub fn size_bytes(&self) -> f64 {
        let more = [&self.best, &self.prints].into_iter().flatten().map(Vec::len);
        (self.weights.len() + more.sum::<usize>()) as f64
    }

    fn from_js(files: &JsValue) -> Self {
        let bytes = |name| field(files, name).dyn_into::<Uint8Array>().ok().map(|bytes| bytes.to_vec());
        let config = field(files, "config").as_string().unwrap_or_default();
        let (best, prints) = (bytes("best"), bytes("prints"));
        Self { config, weights: bytes("weights").unwrap_or_default(), best, prints }
    }
}

impl AdapterInfo {
    /// A new one, with a new id, made now.
    ///
    /// # Errors
    /// `internal` where the browser gives no random numbers.
    pub fn new(name: &str, base: &str, model: &str) -> Result<Self> {
        let now = Date::now();
        Ok(Self {
            id: new_id()?,
            name: named(name, "Untitled"),
            created_ms: now,
            updated_ms: now,
            base: base.to_owned(),
            model: model.to_owned(),
            size_bytes: 0.0,
            text_bytes: 0.0,
            prints: false,
            recipe: Value::Null,
            measures: Value::Null,
        })
    }

    /// The changes that keep it with its files.
    ///
    /// # Errors
    /// `internal`: it always can be turned into an object.
    pub fn changes(&self, files: &Files) -> Result<[Change; 2]> {
        Ok([
            Change::Put(Table::Adapters, self.id.clone(), object(self)?),
            Change::Put(Table::Files, self.id.clone(), files.to_js()),
        ])
    }
}

/// All of them, the newest first.
///
/// # Errors
/// As [`database::open`].
pub async fn list() -> Result<Vec<AdapterInfo>> {
    let mut found: Vec<AdapterInfo> = database::open().await?.all(Table::Adapters).await?;
    found.sort_by(|a, b| b.created_ms.total_cmp(&a.created_ms));
    Ok(found)
}

/// Keeps an adapter.
///
/// # Errors
/// As [`database::Database::write`].
pub async fn keep(info: &AdapterInfo, files: &Files) -> Result<()> {
    database::open().await?.write(&info.changes(files)?).await
}

/// An adapter with its files.
///
/// # Errors
/// `invalid-option` where there is none of that id; as [`database::open`].
pub async fn get(id: &str) -> Result<(AdapterInfo, Files)> {
    let database = database::open().await?;
    let [Some(info), Some(files)] = database.get([Table::Adapters, Table::Files], id).await? else {
        return Err(missing(id));
    };
    Ok((database::read(info)?, Files::from_js(&files)))
}

/// The texts that an adapter was learned from, as JavaScript gave them.
///
/// # Errors
/// `invalid-option` where none are kept; as [`database::open`].
pub async fn texts(id: &str) -> Result<JsValue> {
    let [texts] = database::open().await?.get([Table::Texts], id).await?;
    texts.ok_or_else(|| {
        let what = format!("no texts are kept beside the adapter `{id}`; they are where `keepTexts` was set");
        Error::new(ErrorKind::InvalidOption, what)
    })
}

/// Removes the texts that are kept beside an adapter, and leaves the adapter.
///
/// # Errors
/// `invalid-option` where there is no such adapter; as [`database::Database::write`].
pub async fn forget_texts(id: &str) -> Result<()> {
    let database = database::open().await?;
    let [Some(info)] = database.get([Table::Adapters], id).await? else { return Err(missing(id)) };
    let mut info: AdapterInfo = database::read(info)?;
    info.text_bytes = 0.0;
    let told = Change::Put(Table::Adapters, id.to_owned(), object(&info)?);
    database.write(&[told, Change::Delete(Table::Texts, id.to_owned())]).await
}

/// Gives an adapter another name.
///
/// # Errors
/// `invalid-option` where there is none of that id or the name is empty; as [`database::Database::write`].
pub async fn rename(id: &str, name: &str) -> Result<()> {
    if named(name, "").is_empty() {
        return Err(Error::new(ErrorKind::InvalidOption, "the new name is empty; write at least one letter"));
    }
    let change = |info: &mut AdapterInfo| {
        info.name = named(name, "");
        info.updated_ms = Date::now();
    };
    let found = database::open().await?.update(Table::Adapters, id, change).await?;
    if found { Ok(()) } else { Err(missing(id)) }
}

/// Removes an adapter; one that is not there needs no removing.
///
/// # Errors
/// As [`database::Database::write`].
pub async fn delete(id: &str) -> Result<()> {
    let gone = [Table::Adapters, Table::Files, Table::Texts].map(|table| Change::Delete(table, id.to_owned()));
    database::open().await?.write(&gone).await
}

/// Characters of the longest name.
const NAME_CHARS: usize = 80;

/// A name without blanks around it, or `otherwise`.
///
/// Names come with files of others, too: what would break a line or turn the writing direction of the words around it is
/// left out, and so is what goes beyond any name.
pub fn named(name: &str, otherwise: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let plain: String = name.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
    let short: String = plain.trim().chars().take(NAME_CHARS).collect();
    if short.trim().is_empty() { otherwise.to_owned() } else { short.trim_end().to_owned() }
}

fn missing(id: &str) -> Error {
    let what = format!("this browser keeps no adapter `{id}`; list them again, it may have been deleted");
    Error::new(ErrorKind::InvalidOption, what)
}
