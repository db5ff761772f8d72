//! Models kept in this browser: the origin's private file system, one data file and one description a model.
//!
//! The description is written last and says `complete`, so that after a crash a model is either there or not, and what
//! has arrived of it can be gone on with. A third file holds the hash that an address gave first; it stays when the model is
//! forgotten, and names the address by its hash alone.

use imprint_core::{Error, ErrorKind, Result};
use js_sys::{Array, AsyncIterator, Promise, Uint8Array};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use web_sys::{
    AbortSignal, Blob, File, FileSystemCreateWritableOptions, FileSystemDirectoryHandle, FileSystemFileHandle,
    FileSystemGetDirectoryOptions, FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions,
    FileSystemSyncAccessHandle, FileSystemWritableFileStream,
};

use crate::{
    source::hex,
    store::{failed, full},
    web::{Lock, field, settle},
};

const DIRECTORY: &str = "imprint-models";

#[wasm_bindgen]
extern "C" {
    // Throws where the page is not served over HTTPS or from localhost, and in some private windows.
    #[wasm_bindgen(js_namespace = ["navigator", "storage"], js_name = getDirectory, catch)]
    fn get_directory() -> Result<Promise, JsValue>;
}

/// What is known of a model beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Where it came from.
    pub url: String,
    /// The whole length, as far as the server told; 0 if it did not.
    pub size_bytes: u64,
    /// The SHA-256 in hex, once complete.
    pub sha256: String,
    /// What the server calls this version of the file, to go on with the same one: its ETag, else its date.
    pub version: String,
    /// Whether all of it is here and checked.
    pub complete: bool,
}

/// A model that this browser keeps, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    url: String,
    pub(crate) size_bytes: f64,
    sha256: String,
}

/// The place of one model.
pub struct Place {
    directory: FileSystemDirectoryHandle,
    key: String,
    _lock: Lock,
}

impl Place {
    /// Opens the place of the model at `url`, waiting until no other tab writes there.
    ///
    /// # Errors
    /// `None` where this browser keeps no files; `cancelled`.
    pub async fn open(url: &str, signal: Option<&AbortSignal>) -> Result<Option<Self>> {
        let Ok(directory) = directory().await else { return Ok(None) };
        let key = hex(Sha256::new_with_prefix(url));
        let lock = Lock::wait(&format!("imprint-model-{key}"), signal).await?;
        Ok(Some(Self { directory, key, _lock: lock }))
    }

    /// What is known of the model; `None` if nothing, or nothing sound.
    pub async fn description(&self) -> Option<Description> {
        read_description(&self.directory, &self.description_name()).await
    }

    /// Writes the description.
    ///
    /// # Errors
    /// `storage-full`, or `internal` when the browser refuses.
    pub async fn describe(&self, description: &Description) -> Result<()> {
        let text = serde_json::to_vec(description)
            .map_err(|e| Error::new(ErrorKind::Internal, "no description").with_source(e))?;
        let sink = Sink::create(&self.directory, &self.description_name(), 0).await?;
        sink.append(0, &Uint8Array::from(text.as_slice())).await?;
        sink.close().await.map(drop)
    }

    /// The hash that the first download from here had.
    pub async fn learned(&self) -> Option<String> {
        let file = file(self.directory.get_file_handle(&self.learned_name())).await.ok()?;
        let text = settle(Ok(file.text())).await.ok()?.as_string()?;
        (text.len() == 64).then_some(text)
    }

    /// Notes the hash that downloads from here are held to from now on.
    ///
    /// # Errors
    /// As [`Place::describe`].
    pub async fn learn(&self, sha256: &str) -> Result<()> {
        let sink = Sink::create(&self.directory, &self.learned_name(), 0).await?;
        sink.append(0, &Uint8Array::from(sha256.as_bytes())).await?;
        sink.close().await.map(drop)
    }

    /// Forgets that hash.
    async fn unlearn(&self) {
        let _ = settle(Ok(self.directory.remove_entry(&self.learned_name()))).await;
    }

    /// The bytes that are here.
    pub async fn data(&self) -> Option<Blob> {
        let handle = self.directory.get_file_handle(&self.data_name());
        file(handle).await.ok().map(JsCast::unchecked_into)
    }

    /// Opens the data file for writing from `keep` bytes on; what is behind is cut off.
    ///
    /// # Errors
    /// As [`Place::describe`].
    pub async fn write(&self, keep: u64) -> Result<Sink> {
        Sink::create(&self.directory, &self.data_name(), keep).await
    }

    /// Removes everything; what is not there needs no removing.
    pub async fn clear(&self) {
        for name in [self.description_name(), self.data_name()] {
            let _ = settle(Ok(self.directory.remove_entry(&name))).await;
        }
    }

    fn description_name(&self) -> String {
        format!("{}.json", self.key)
    }

    fn learned_name(&self) -> String {
        format!("{}.sha256", self.key)
    }

    fn data_name(&self) -> String {
        format!("{}.gguf", self.key)
    }
}

/// The bytes of the model at `url` if all of it is kept here; waits for no other tab.
pub async fn kept(url: &str) -> Option<Blob> {
    let directory = directory().await.ok()?;
    let key = hex(Sha256::new_with_prefix(url));
    let description = read_description(&directory, &format!("{key}.json")).await.filter(|known| known.complete)?;
    let blob: Blob = file(directory.get_file_handle(&format!("{key}.gguf"))).await.ok()?.unchecked_into();
    (blob.size() as u64 == description.size_bytes).then_some(blob)
}

/// All complete models, in no order.
pub async fn list() -> Vec<Stored> {
    let mut found = Vec::new();
    let Ok(directory) = directory().await else { return found };
    let names: AsyncIterator = directory.keys();
    while let Ok(entry) = settle(names.next()).await {
        let Some(name) = field(&entry, "value").as_string() else { break };
        if name.ends_with(".json") {
            let description = read_description(&directory, &name).await.filter(|description| description.complete);
            found.extend(description.map(|Description { url, size_bytes, sha256, .. }| Stored {
                url,
                size_bytes: size_bytes as f64,
                sha256,
            }));
        }
    }
    found
}

/// Removes the model of `url`, or what has arrived of it; with `hash` also what later downloads are held to.
pub async fn forget(url: &str, hash: bool) -> Result<()> {
    if let Some(place) = Place::open(url, None).await? {
        place.clear().await;
        if hash {
            place.unlearn().await;
        }
    }
    Ok(())
}

/// Removes every model and what has arrived of others.
pub async fn forget_all() {
    let Ok(Ok(root)) = settle(get_directory()).await.map(JsCast::dyn_into::<FileSystemDirectoryHandle>) else { return };
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    // Where there is none, there is nothing to remove.
    let _ = settle(Ok(root.remove_entry_with_options(DIRECTORY, &options))).await;
}

async fn directory() -> Result<FileSystemDirectoryHandle, JsValue> {
    let root: FileSystemDirectoryHandle = settle(get_directory()).await?.unchecked_into();
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    let directory = settle(Ok(root.get_directory_handle_with_options(DIRECTORY, &options))).await?;
    Ok(directory.unchecked_into())
}

async fn file(handle: Promise) -> Result<File, JsValue> {
    let handle: FileSystemFileHandle = settle(Ok(handle)).await?.unchecked_into();
    Ok(settle(Ok(handle.get_file())).await?.unchecked_into())
}

async fn read_description(directory: &FileSystemDirectoryHandle, name: &str) -> Option<Description> {
    let file = file(directory.get_file_handle(name)).await.ok()?;
    let text = settle(Ok(file.text())).await.ok()?.as_string()?;
    serde_json::from_str(&text).ok()
}

/// Where a download goes.
pub enum Sink {
    /// A worker's file, written at once.
    Direct(FileSystemSyncAccessHandle),
    /// A page's file: what is written counts from `close` on.
    Stream(FileSystemWritableFileStream),
    /// No file, but pieces that the browser holds for this session.
    Memory(Array),
}

impl Sink {
    /// A sink that keeps nothing beyond this session.
    pub fn memory() -> Self {
        Self::Memory(Array::new())
    }

    async fn create(directory: &FileSystemDirectoryHandle, name: &str, keep: u64) -> Result<Self> {
        Self::open(directory, name, keep).await.map_err(failed)
    }

    async fn open(directory: &FileSystemDirectoryHandle, name: &str, keep: u64) -> Result<Self, JsValue> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let handle = settle(Ok(directory.get_file_handle_with_options(name, &options))).await?;
        let handle: FileSystemFileHandle = handle.unchecked_into();
        if field(&handle, "createSyncAccessHandle").is_function() {
            let access = settle(Ok(handle.create_sync_access_handle())).await?;
            let access: FileSystemSyncAccessHandle = access.unchecked_into();
            let sink = Self::Direct(access.clone());
            access.truncate_with_f64(keep as f64)?;
            return Ok(sink);
        }
        let options = FileSystemCreateWritableOptions::new();
        options.set_keep_existing_data(keep > 0);
        let stream = settle(Ok(handle.create_writable_with_options(&options))).await?;
        let stream: FileSystemWritableFileStream = stream.unchecked_into();
        settle(stream.truncate_with_f64(keep as f64)).await?;
        settle(stream.seek_with_f64(keep as f64)).await?;
        Ok(Self::Stream(stream))
    }

    /// Writes `bytes` at `at`, which is where the last ones ended.
    ///
    /// # Errors
    /// `storage-full`, or `internal` when the browser refuses.
    pub async fn append(&self, at: u64, bytes: &Uint8Array) -> Result<()> {
        let written = match self {
            Self::Direct(file) => {
                let options = FileSystemReadWriteOptions::new();
                options.set_at(at as f64);
                file.write_with_js_u8_array_and_options(bytes, &options)
            }
            Self::Stream(stream) => {
                let write = stream.write_with_js_u8_array(bytes);
                settle(write).await.map(|_| f64::from(bytes.length()))
            }
            Self::Memory(pieces) => {
                pieces.push(bytes);
                Ok(f64::from(bytes.length()))
            }
        };
        match written {
            Ok(n) if n as u64 == u64::from(bytes.length()) => Ok(()),
            Ok(_) => Err(full("the browser wrote a part only")),
            Err(thrown) => Err(failed(thrown)),
        }
    }

    /// Ends the writing: everything written is then in the file, or in the blob that comes back.
    ///
    /// # Errors
    /// As [`Sink::append`].
    pub async fn close(self) -> Result<Option<Blob>> {
        let closed = match &self {
            Self::Direct(file) => file.flush().map(|()| None),
            Self::Stream(stream) => settle(Ok(stream.close())).await.map(|_| None),
            Self::Memory(pieces) => Blob::new_with_buffer_source_sequence(pieces).map(Some),
        };
        closed.map_err(failed)
    }
}

impl Drop for Sink {
    /// A file left open could not be opened again before a garbage collection.
    fn drop(&mut self) {
        if let Self::Direct(file) = self {
            file.close();
        }
    }
}
