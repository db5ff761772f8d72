//! Rows as they lie in the database of a person with a passphrase: AES-256-GCM, a fresh nonce each, bound to their place.
//!
//! The data key comes from the page, which made or opened it with the passphrase; it cannot be taken out of the browser's
//! hands. With random nonces of 96 bits one key seals 2³² rows safely (NIST SP 800-38D, §8.3).

use std::cell::{Cell, RefCell};

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Array, Object, Promise, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{
    store::pack::{pack, unpack},
    web::{field, message_of, set_field, settle},
};

#[wasm_bindgen]
extern "C" {
    // `crypto.subtle` is missing, and all of these throw, where the page is not served over HTTPS or from localhost.
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = encrypt, catch)]
    fn encrypt(algorithm: &JsValue, key: &JsValue, data: &JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = decrypt, catch)]
    fn decrypt(algorithm: &JsValue, key: &JsValue, data: &JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey, catch)]
    fn import_key(
        format: &str,
        data: &JsValue,
        algorithm: &str,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;
}

const ALGORITHM: &str = "AES-GCM";
const NONCE_BYTES: usize = 12;

/// A data key with its name.
#[derive(Debug, Clone)]
pub struct Key {
    /// The name, which sealed rows carry.
    pub id: String,
    key: JsValue,
}

thread_local! {
    static HELD: RefCell<Option<Key>> = const { RefCell::new(None) };
    static LOCKS: Cell<u32> = const { Cell::new(0) };
}

/// The key that this thread was given, if any.
pub fn held() -> Option<Key> {
    HELD.with_borrow(Clone::clone)
}

/// Takes a key; the one before is given up.
pub fn hold(id: String, key: JsValue) {
    HELD.set(Some(Key { id, key }));
}

/// Holds again what was held before.
pub fn put_back(before: Option<Key>) {
    HELD.set(before);
}

/// Gives the key up.
pub fn give_up() {
    HELD.set(None);
    LOCKS.set(LOCKS.get().wrapping_add(1));
}

/// How often a key was given up: what was read with it is forgotten when this has grown.
pub fn locks() -> u32 {
    LOCKS.get()
}

/// The name of the key that a row is sealed with; `None` for one that lies open.
pub fn sealed_with(row: &JsValue) -> Option<String> {
    if row.is_object() && field(row, "sealed").is_instance_of::<Uint8Array>() {
        return field(row, "vault").as_string();
    }
    None
}

/// Whether two sealed rows are one and the same: no two have the same nonce.
pub fn same(a: &JsValue, b: &JsValue) -> bool {
    let nonce = |row: &JsValue| field(row, "nonce").dyn_into::<Uint8Array>().map(|nonce| nonce.to_vec());
    matches!((nonce(a), nonce(b)), (Ok(a), Ok(b)) if a == b)
}

impl Key {
    /// A key that lies in the open: one whose passphrase was removed.
    ///
    /// # Errors
    /// `internal` for what is no key.
    pub async fn from_raw(id: String, raw: &JsValue) -> Result<Self> {
        let usages = Array::of1(&"decrypt".into());
        let key = settle(import_key("raw", raw, ALGORITHM, false, &usages)).await.map_err(refusal)?;
        Ok(Self { id, key })
    }

    /// Seals the row of `place`, a table and a key in it.
    ///
    /// # Errors
    /// `internal` when the browser refuses.
    pub async fn seal(&self, place: &str, row: &JsValue) -> Result<JsValue> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("the browser gives no random numbers: {e}")))?;
        let nonce = Uint8Array::from(nonce.as_slice());
        let bytes = encrypt(&self.algorithm(place, &nonce), &self.key, &pack(row)?.into());
        let bytes = settle(bytes).await.map_err(refusal)?;
        let sealed = Object::new();
        set_field(&sealed, "vault", &self.id.as_str().into());
        set_field(&sealed, "nonce", &nonce);
        set_field(&sealed, "sealed", &Uint8Array::new(&bytes));
        Ok(sealed.into())
    }

    /// Opens a row that [`Key::seal`] sealed for the same place.
    ///
    /// # Errors
    /// `internal` for one that was damaged, or moved here from elsewhere.
    pub async fn open(&self, place: &str, row: &JsValue) -> Result<JsValue> {
        let algorithm = self.algorithm(place, &field(row, "nonce"));
        let bytes = settle(decrypt(&algorithm, &self.key, &field(row, "sealed"))).await.map_err(|_| {
            let what = format!("what lies at {place} in this browser's database is damaged and cannot be opened");
            Error::new(ErrorKind::Internal, what.replace('\n', " / "))
        })?;
        unpack(&Uint8Array::new(&bytes))
    }

    fn algorithm(&self, place: &str, nonce: &JsValue) -> JsValue {
        let algorithm = Object::new();
        let bound = format!("{place}\n{}", self.id);
        set_field(&algorithm, "name", &ALGORITHM.into());
        set_field(&algorithm, "iv", nonce);
        set_field(&algorithm, "additionalData", &Uint8Array::from(bound.as_bytes()));
        algorithm.into()
    }
}

fn refusal(thrown: JsValue) -> Error {
    let what = format!("this browser's encryption failed: {}", message_of(&thrown));
    Error::new(ErrorKind::Internal, what)
}
