//! The database of this browser: its tables, how an older one is brought up to date, and the one way to write.
//!
//! Every write is one transaction, so that a kill between any two changes leaves the old state or the new, never half.
//! A connection is opened for each task and closed after it: none stands in the way of another tab that wants to bring the
//! database up to date or to remove it.

use idb::{DatabaseEvent, Factory, ObjectStoreParams, Transaction, TransactionMode, event::VersionChangeEvent};
use imprint_core::{Error, ErrorKind, Result};
use js_sys::Promise;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbTransaction, IdbVersionChangeEvent};

use crate::{
    store::refused_for_room,
    web::{self, field},
};

/// The database's name.
const NAME: &str = "imprint";
/// The version of its layout; [`upgrade`] knows all before.
const VERSION: u32 = 2;

/// A table; each has string keys of its own making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// What is told of each adapter.
    Adapters,
    /// The files of each adapter, apart, so that a list reads no weights.
    Files,
    /// What is told of each run that can go on.
    Runs,
    /// What each run goes on from.
    Checkpoints,
    /// What each run learns from, kept as long as the run, and what an adapter was learned from whose owner asked for it.
    Texts,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Adapters => "adapters",
            Table::Files => "adapter-files",
            Table::Runs => "runs",
            Table::Checkpoints => "run-checkpoints",
            Table::Texts => "run-texts",
        }
    }
}

/// A change to one row.
pub enum Change {
    /// Writes a row, over the one before.
    Put(Table, String, JsValue),
    /// Removes a row; one that is not there needs no removing.
    Delete(Table, String),
}

/// An open connection, closed when dropped.
pub struct Database(idb::Database);

impl Drop for Database {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Opens the database, making or bringing up to date what is not as it should be.
///
/// # Errors
/// `storage-full`, or `internal` where the browser keeps no databases or has one of a later Imprint.
pub async fn open() -> Result<Database> {
    let mut request = Factory::new().and_then(|factory| factory.open(NAME, Some(VERSION))).map_err(refusal)?;
    request.on_upgrade_needed(|event| {
        if upgrade(&event).is_err() {
            abort(event);
        }
    });
    match request.await {
        Ok(database) => Ok(Database(database)),
        Err(idb::Error::DomException(why)) if why.name() == "QuotaExceededError" => Err(refused_for_room().await),
        Err(idb::Error::DomException(why)) if why.name() == "VersionError" => {
            let what = "what this browser keeps was written by a later Imprint; reload the page to get that one";
            Err(Error::new(ErrorKind::Internal, what))
        }
        Err(error) => Err(refusal(error)),
    }
}

/// Removes the database with all that is in it.
///
/// # Errors
/// `internal` when the browser refuses.
pub async fn remove() -> Result<()> {
    Factory::new().and_then(|factory| factory.delete(NAME)).map_err(refusal)?.await.map_err(refusal)
}

/// Brings a database of any earlier version up to date: version 1 kept adapters only, 0 is none at all.
fn upgrade(event: &VersionChangeEvent) -> Result<(), idb::Error> {
    let database = event.database()?;
    let add = |table: Table| database.create_object_store(table.name(), ObjectStoreParams::new());
    let before = event.old_version()?;
    if before < 1 {
        add(Table::Adapters)?;
        add(Table::Files)?;
    }
    if before < 2 {
        add(Table::Runs)?;
        add(Table::Checkpoints)?;
        add(Table::Texts)?;
    }
    Ok(())
}

/// Takes an upgrade back, so that the next one finds what this one found.
fn abort(event: VersionChangeEvent) {
    let Some(request) = IdbVersionChangeEvent::from(event).target() else { return };
    if let Ok(transaction) = field(&request, "transaction").dyn_into::<IdbTransaction>() {
        let _ = transaction.abort();
    }
}

impl Database {
    /// Makes all changes, or none.
    ///
    /// # Errors
    /// `storage-full` with the figures, or `internal`; everything is then as it was.
    pub async fn write(&self, changes: &[Change]) -> Result<()> {
        let mut tables: Vec<&str> = changes.iter().map(|change| change.table().name()).collect();
        tables.sort_unstable();
        tables.dedup();
        let transaction = self.0.transaction(&tables, TransactionMode::ReadWrite).map_err(refusal)?;
        let asked = changes.iter().try_for_each(|change| change.ask(&transaction));
        finish(transaction, asked).await
    }

    /// Changes one row by what stands in it; gives whether there is one.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn update<T>(&self, table: Table, key: &str, change: impl FnOnce(&mut T)) -> Result<bool>
    where
        T: Serialize + DeserializeOwned,
    {
        let transaction = self.0.transaction(&[table.name()], TransactionMode::ReadWrite).map_err(refusal)?;
        let rows = transaction.object_store(table.name()).map_err(refusal)?;
        let Some(row) = rows.get(JsValue::from(key)).map_err(refusal)?.await.map_err(refusal)? else {
            return Ok(false);
        };
        let mut row = read::<T>(row)?;
        change(&mut row);
        let asked = rows.put(&web::object(&row)?, Some(&key.into())).map(drop);
        finish(transaction, asked).await.map(|()| true)
    }

    /// The rows of one key in several tables, as they stand together.
    ///
    /// # Errors
    /// `internal` when the browser refuses.
    pub async fn get<const N: usize>(&self, tables: [Table; N], key: &str) -> Result<[Option<JsValue>; N]> {
        let transaction = self.reading(&tables)?;
        let mut found = [const { None }; N];
        for (row, table) in found.iter_mut().zip(tables) {
            let rows = transaction.object_store(table.name()).map_err(refusal)?;
            *row = rows.get(JsValue::from(key)).map_err(refusal)?.await.map_err(refusal)?;
        }
        Ok(found)
    }

    /// All rows of a table.
    ///
    /// # Errors
    /// `internal` when the browser refuses.
    pub async fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>> {
        let rows = self.reading(&[table])?.object_store(table.name()).and_then(|rows| rows.get_all(None, None));
        let rows = rows.map_err(refusal)?.await.map_err(refusal)?;
        rows.into_iter().map(read).collect()
    }

    fn reading(&self, tables: &[Table]) -> Result<Transaction> {
        let names: Vec<&str> = tables.iter().map(|table| table.name()).collect();
        self.0.transaction(&names, TransactionMode::ReadOnly).map_err(refusal)
    }
}

impl Change {
    fn table(&self) -> Table {
        match self {
            Change::Put(table, ..) | Change::Delete(table, _) => *table,
        }
    }

    fn ask(&self, transaction: &Transaction) -> Result<(), idb::Error> {
        let rows = transaction.object_store(self.table().name())?;
        match self {
            Change::Put(_, key, row) => rows.put(row, Some(&key.into())).map(drop),
            Change::Delete(_, key) => rows.delete(JsValue::from(key)).map(drop),
        }
    }
}

/// What a row says.
///
/// # Errors
/// `internal`: only we write rows.
pub fn read<T: DeserializeOwned>(row: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(row).map_err(|e| {
        let why = web::message_of(&e.into());
        Error::new(ErrorKind::Internal, format!("a row of this browser's database cannot be read: {why}"))
    })
}

/// Ends a transaction for which everything was asked, or takes it back; nothing counts before this returns well.
async fn finish(transaction: Transaction, asked: Result<(), idb::Error>) -> Result<()> {
    let transaction = IdbTransaction::from(transaction);
    if asked.is_err() {
        let _ = transaction.abort();
    }
    // A transaction settles by one of these two, also after an error of a request.
    let settled = Promise::new(&mut |resolve, _| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&resolve));
    });
    let event = JsFuture::from(settled).await.unwrap_or_default();
    if asked.is_ok() && field(&event, "type").as_string().as_deref() == Some("complete") {
        return Ok(());
    }
    match (transaction.error(), asked) {
        (Some(why), _) if why.name() == "QuotaExceededError" => Err(refused_for_room().await),
        (_, Err(idb::Error::DomException(why))) if why.name() == "QuotaExceededError" => Err(refused_for_room().await),
        (_, Err(error)) => Err(refusal(error)),
        (Some(why), Ok(())) => Err(web::caught(ErrorKind::Internal, "this browser's database took a write back", &why)),
        (None, Ok(())) => Err(Error::new(ErrorKind::Internal, "this browser's database took a write back")),
    }
}

fn refusal(error: idb::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("this browser's database failed: {error}"))
}
