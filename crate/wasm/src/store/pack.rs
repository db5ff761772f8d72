//! Rows as bytes, for sealing: JavaScript's own copy of a value cannot be had as bytes.
//!
//! A row is JSON with its byte arrays taken out. The packed form is the length of a head, the head, and the arrays one
//! after the other; the head says where each belongs. The arrays never pass through this module's own memory, which would
//! keep the room for ever.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Array, JSON, Object, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::web::{field, set_field};

/// What stands before the arrays of a packed row.
#[derive(Serialize, Deserialize)]
struct Head {
    /// The row as JSON, with null where an array was.
    row: String,
    /// For each array the fields that lead to it, from the outside in, and its length.
    arrays: Vec<(Vec<String>, u32)>,
}

/// Bytes of the number that says how long the head is.
const LENGTH: u32 = 4;

/// What a row says but for its byte arrays, as JSON; `None` for what is no JSON.
pub fn told(row: &JsValue) -> Option<String> {
    json(&without_arrays(row, &mut Vec::new(), &mut Vec::new()))
}

/// Packs a row.
///
/// # Errors
/// `internal` for a row that is no JSON but for its byte arrays: ours all are.
pub fn pack(row: &JsValue) -> Result<Uint8Array> {
    let mut arrays = Vec::new();
    let bare = without_arrays(row, &mut Vec::new(), &mut arrays);
    let json = json(&bare).ok_or_else(unpackable)?;
    let told = arrays.iter().map(|(path, array): &(Vec<String>, Uint8Array)| (path.clone(), array.length())).collect();
    let head = serde_json::to_vec(&Head { row: json, arrays: told }).map_err(|_| unpackable())?;
    let arrays_bytes: u32 = arrays.iter().map(|(_, array)| array.length()).sum();
    let packed = Uint8Array::new_with_length(LENGTH + head.len() as u32 + arrays_bytes);
    let mut at = 0;
    let length = (head.len() as u32).to_le_bytes();
    let front = [&length, head.as_slice()].map(Uint8Array::from);
    for piece in front.iter().chain(arrays.iter().map(|(_, array)| array)) {
        packed.set(piece, at);
        at += piece.length();
    }
    Ok(packed)
}

/// Unpacks a row.
///
/// # Errors
/// `internal` for bytes that [`pack`] has not made.
pub fn unpack(packed: &Uint8Array) -> Result<JsValue> {
    let mut length = [0; LENGTH as usize];
    if packed.length() < LENGTH {
        return Err(unpackable());
    }
    packed.subarray(0, LENGTH).copy_to(&mut length);
    let mut at = LENGTH.saturating_add(u32::from_le_bytes(length));
    let head: Head = serde_json::from_slice(&packed.slice(LENGTH, at).to_vec()).map_err(|_| unpackable())?;
    let mut row = JSON::parse(&head.row).map_err(|_| unpackable())?;
    for (path, length) in head.arrays {
        let end = at.saturating_add(length);
        if end > packed.length() {
            return Err(unpackable());
        }
        let array = packed.slice(at, end).into();
        at = end;
        let Some((last, before)) = path.split_last() else {
            row = array;
            continue;
        };
        let holder = before.iter().fold(row.clone(), |holder, name| field(&holder, name));
        set_field(&holder, last, &array);
    }
    Ok(row)
}

/// A copy of `value` with null in the place of its byte arrays, which are collected with the fields that lead to them.
fn without_arrays(value: &JsValue, path: &mut Vec<String>, arrays: &mut Vec<(Vec<String>, Uint8Array)>) -> JsValue {
    if let Some(array) = value.dyn_ref::<Uint8Array>() {
        arrays.push((path.clone(), array.clone()));
        return JsValue::NULL;
    }
    let Some(object) = value.dyn_ref::<Object>() else { return value.clone() };
    let copy: JsValue = if Array::is_array(value) { Array::new().into() } else { Object::new().into() };
    for name in Object::keys(object).iter().filter_map(|name| name.as_string()) {
        path.push(name.clone());
        set_field(&copy, &name, &without_arrays(&field(value, &name), path, arrays));
        path.pop();
    }
    copy
}

fn json(value: &JsValue) -> Option<String> {
    JSON::stringify(value).ok()?.as_string()
}

fn unpackable() -> Error {
    Error::new(ErrorKind::Internal, "a row of this browser's database cannot be packed or unpacked")
}
