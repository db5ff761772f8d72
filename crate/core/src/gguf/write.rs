//! Writes a GGUF file.

use crate::quant::BlockType;

/// Writes a GGUF file into memory.
///
/// # Example
/// ```
/// # use imprint_core::{gguf::{Gguf, GgufWriter}, quant::BlockType};
/// let weights = [0.5f32; 64].into_iter().flat_map(f32::to_le_bytes).collect();
/// let file = GgufWriter::new()
///     .meta_str("general.architecture", "llama")
///     .tensor("output.weight", &[32, 2], BlockType::F32, weights)
///     .finish();
/// let gguf = pollster::block_on(Gguf::read(&file))?;
/// assert_eq!(gguf.tensor("output.weight").unwrap().rows(), 2);
/// # Ok::<(), imprint_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GgufWriter {
    version: u32,
    alignment: usize,
    entries: Vec<Vec<u8>>,
    tensors: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self { version: 3, alignment: 32, entries: Vec::new(), tensors: Vec::new() }
    }

    /// Sets the version number.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets what tensors are aligned to, and says so in the metadata.
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment as usize;
        self.meta_u32("general.alignment", alignment)
    }

    /// Adds an entry of any type: `kind` is GGUF's number of the type, `bytes` the value as it stands in the file.
    pub fn meta_raw(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        let mut entry = text(key);
        entry.extend(kind.to_le_bytes());
        entry.extend(bytes);
        self.entries.push(entry);
        self
    }

    /// Adds a text.
    pub fn meta_str(self, key: &str, value: &str) -> Self {
        self.meta_raw(key, 8, &text(value))
    }

    /// Adds an unsigned integer of 32 bits.
    pub fn meta_u32(self, key: &str, value: u32) -> Self {
        self.meta_raw(key, 4, &value.to_le_bytes())
    }

    /// Adds a float of 32 bits.
    pub fn meta_f32(self, key: &str, value: f32) -> Self {
        self.meta_raw(key, 6, &value.to_le_bytes())
    }

    /// Adds a truth value.
    pub fn meta_bool(self, key: &str, value: bool) -> Self {
        self.meta_raw(key, 7, &[u8::from(value)])
    }

    /// Adds a list of any type: `kind` is GGUF's number of the items' type, `items` each as it stands in the file.
    pub fn meta_list(self, key: &str, kind: u32, items: impl ExactSizeIterator<Item = Vec<u8>>) -> Self {
        let mut list = kind.to_le_bytes().to_vec();
        list.extend((items.len() as u64).to_le_bytes());
        list.extend(items.flatten());
        self.meta_raw(key, 9, &list)
    }

    /// Adds a list of texts.
    pub fn meta_strings(self, key: &str, values: &[impl AsRef<str>]) -> Self {
        self.meta_list(key, 8, values.iter().map(|value| text(value.as_ref())))
    }

    /// Adds a list of signed integers of 32 bits.
    pub fn meta_i32s(self, key: &str, values: &[i32]) -> Self {
        self.meta_list(key, 5, values.iter().map(|value| value.to_le_bytes().to_vec()))
    }

    /// Adds a list of floats of 32 bits.
    pub fn meta_f32s(self, key: &str, values: &[f32]) -> Self {
        self.meta_list(key, 6, values.iter().map(|value| value.to_le_bytes().to_vec()))
    }

    /// Adds a tensor; `shape` has the fastest axis first.
    ///
    /// # Panics
    /// If `bytes` is not as long as the shape and format say.
    pub fn tensor(mut self, name: &str, shape: &[u64], ty: BlockType, bytes: Vec<u8>) -> Self {
        let n_weights = shape.iter().product::<u64>() as usize;
        assert_eq!(bytes.len(), ty.row_bytes(n_weights), "tensor {name}");
        let mut info = text(name);
        info.extend((shape.len() as u32).to_le_bytes());
        info.extend(shape.iter().flat_map(|axis| axis.to_le_bytes()));
        info.extend(ty.ggml_id().to_le_bytes());
        self.tensors.push((info, bytes));
        self
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.into_iter().flatten());
        let mut data = Vec::new();
        for (info, bytes) in self.tensors {
            file.extend(info);
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(data);
        file
    }
}

/// A text with its length before it.
fn text(value: &str) -> Vec<u8> {
    let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
    bytes.extend(value.as_bytes());
    bytes
}
