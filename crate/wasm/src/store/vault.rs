//! The vault: whether what is kept is sealed by a passphrase, and turning it over when that changes.
//!
//! The page makes the record, for only it sees the passphrase: the data key, wrapped by a key from the passphrase. Its
//! `state` says how rows are written. Turning over goes row by row, so that it needs the room of one; a kill in between
//! leaves some rows turned and some not, which reads well, and the next unlocking goes on with it. A passphrase is
//! removed by laying its data key open beside what it had sealed, so that nothing is lost that was not yet turned back.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Object, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{
    store::{
        database::{self, Database, Table},
        runs,
        seal::{self, Key, sealed_with},
    },
    web::{field, set_field},
};

/// The key of the record in its table.
pub const RECORD: &str = "record";

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Open: there is no passphrase, or no longer.
    Open,
    /// Open, while rows from before may still be sealed.
    Opening,
    /// Sealed, while rows from before may still lie open.
    Sealing,
    /// Sealed.
    Sealed,
}

impl State {
    /// How the record says that every row lies as this state wants it; `None` where it says so already.
    fn done(self) -> Option<&'static str> {
        match self {
            State::Sealing => Some("sealed"),
            State::Opening => Some("open"),
            State::Open | State::Sealed => None,
        }
    }
}

/// What the record says at one moment.
#[derive(Debug, Clone)]
pub struct Standing {
    state: State,
    record: JsValue,
    id: String,
}

impl Standing {
    /// What a record says; none is an open store.
    pub fn of(record: Option<JsValue>) -> Self {
        let record = record.unwrap_or_default();
        let state = match field_text(&record, "state").as_str() {
            "sealing" => State::Sealing,
            "sealed" => State::Sealed,
            "opening" => State::Opening,
            _ => State::Open,
        };
        Self { state, id: field_text(&record, "id"), record }
    }

    /// Whether rows are written alike under both.
    pub fn agrees(&self, other: &Self) -> bool {
        self.seals() == other.seals() && (self.id == other.id || !self.seals())
    }

    /// Whether rows are sealed.
    pub fn seals(&self) -> bool {
        matches!(self.state, State::Sealing | State::Sealed)
    }

    /// Gives the key that rows are sealed with, `None` where they are not.
    ///
    /// # Errors
    /// `locked` where this thread was not given it.
    pub fn key(&self) -> Result<Option<Key>> {
        if !self.seals() {
            return Ok(None);
        }
        seal::held().filter(|key| key.id == self.id).map(Some).ok_or_else(|| {
            let what = "what is kept in this browser is locked; unlock it with the passphrase, then try again";
            Error::new(ErrorKind::Locked, what)
        })
    }

    /// A row as it is to lie at `place`.
    ///
    /// # Errors
    /// `locked`; as [`Key::seal`].
    pub async fn seal(&self, place: &str, row: &JsValue) -> Result<JsValue> {
        match self.key()? {
            Some(key) => key.seal(place, row).await,
            None => Ok(row.clone()),
        }
    }

    /// What a row says that lies at `place`.
    ///
    /// # Errors
    /// `locked`, also for a row that lies open while others are sealed; as [`Key::open`].
    pub async fn open(&self, place: &str, row: JsValue) -> Result<JsValue> {
        let key = self.key()?;
        let Some(id) = sealed_with(&row) else { return Ok(row) };
        let key = match key.filter(|key| key.id == id) {
            Some(key) => key,
            None => self.former(&id).await?,
        };
        key.open(place, &row).await
    }

    /// Whether a row lies as it should.
    pub fn suits(&self, row: &JsValue) -> bool {
        sealed_with(row).as_deref() == self.seals().then_some(self.id.as_str())
    }

    /// A key whose passphrase was removed: it lies open in the record.
    async fn former(&self, id: &str) -> Result<Key> {
        let raw = field(&field(&self.record, "former"), id);
        if raw.is_instance_of::<Uint8Array>() {
            return Key::from_raw(id.to_owned(), &raw).await;
        }
        let what =
            "a row of this browser's database is sealed with a key that is gone; forget everything to begin anew";
        Err(Error::new(ErrorKind::Internal, what))
    }
}

/// Refuses work whose outcome could not be kept.
///
/// # Errors
/// `locked`; as [`database::open`].
pub async fn check_unlocked() -> Result<()> {
    database::open().await?.standing().await?.key().map(drop)
}

/// Whether all that is kept can be read.
///
/// # Errors
/// As [`database::open`].
pub async fn is_locked() -> Result<bool> {
    Ok(database::open().await?.standing().await?.key().is_err())
}

/// Seals all that is kept, and what will be, with a key that `record` holds wrapped.
///
/// # Errors
/// `invalid-option` where there is a passphrase already; `busy` while any tab learns; as [`Database::write`], after which
/// the sealing goes on with [`turn`].
pub async fn begin(record: &JsValue, key: JsValue) -> Result<()> {
    let _alone = runs::learn_alone().await?;
    let database = database::open().await?;
    let made = |former: &Standing| {
        if former.seals() {
            let what = "a passphrase is set already; change it, or remove it first";
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        Ok(with(record, &[("state", "sealing".into()), ("former", field(&former.record, "former"))]))
    };
    // Before the record counts: nothing in this thread may meet a lock that it has the key for.
    let before = seal::held();
    seal::hold(field_text(record, "id"), key);
    if let Err(refused) = database.change_record(made).await {
        seal::put_back(before);
        return Err(refused);
    }
    turn_all(&database).await
}

/// Goes on with a turning over that was broken off; there need be none.
///
/// # Errors
/// `locked`; as [`Database::write`].
pub async fn turn() -> Result<()> {
    turn_all(&database::open().await?).await
}

/// Puts another wrapping of the same key in the place of the one before.
///
/// # Errors
/// `invalid-option` where that key is no longer the vault's; as [`Database::write`].
pub async fn rewrap(record: &JsValue) -> Result<()> {
    let id = field_text(record, "id");
    let made = |former: &Standing| {
        if !former.seals() || former.id != id {
            let what = "the passphrase was removed or set anew in another tab meanwhile; try again";
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        let kept = ["state", "former"].map(|name| (name, field(&former.record, name)));
        Ok(with(record, &kept))
    };
    database::open().await?.change_record(made).await
}

/// Opens all that is kept: there is no passphrase any more, and `raw`, the data key, lies open.
///
/// # Errors
/// As [`rewrap`].
pub async fn remove(id: &str, raw: &Uint8Array) -> Result<()> {
    let _alone = runs::learn_alone().await?;
    let database = database::open().await?;
    let made = |former: &Standing| {
        if !former.seals() || former.id != id {
            let what = "the passphrase was removed or set anew in another tab meanwhile; look again";
            return Err(Error::new(ErrorKind::InvalidOption, what));
        }
        let keys = with(&field(&former.record, "former"), &[(id, raw.into())]);
        Ok(with(&JsValue::UNDEFINED, &[("state", "opening".into()), ("former", keys)]))
    };
    database.change_record(made).await?;
    turn_all(&database).await
}

/// Writes every row as it should lie, one after the other.
async fn turn_all(database: &Database) -> Result<()> {
    for table in Table::TURNED {
        for key in database.keys(table).await? {
            database.turn(table, &key).await?;
        }
    }
    let standing = database.standing().await?;
    let Some(done) = standing.state.done() else { return Ok(()) };
    let made = |now: &Standing| {
        // Another tab may have set or removed a passphrase meanwhile.
        let same = now.state == standing.state && now.id == standing.id;
        Ok(if same { with(&now.record, &[("state", done.into())]) } else { now.record.clone() })
    };
    database.change_record(made).await
}

/// A copy of an object with some fields set.
fn with(object: &JsValue, fields: &[(&str, JsValue)]) -> JsValue {
    let copy = Object::new();
    if let Some(object) = object.dyn_ref::<Object>() {
        for name in Object::keys(object).iter().filter_map(|name| name.as_string()) {
            set_field(&copy, &name, &field(object, &name));
        }
    }
    for (name, value) in fields {
        set_field(&copy, name, value);
    }
    copy.into()
}

fn field_text(object: &JsValue, name: &str) -> String {
    if object.is_object() { field(object, name).as_string().unwrap_or_default() } else { String::new() }
}
