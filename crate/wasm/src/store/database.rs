//! The database of this browser: its tables, how an older one is brought up to date, and the one way to read and write.
//!
//! Rows of a person with a passphrase are sealed and opened here and nowhere else. A transaction ends while one waits for
//! anything but itself, so rows are sealed before it begins; it then looks whether what they were sealed for still stands,
//! and is tried again where another tab was quicker.
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
    store::{
        pack, refused_for_room, seal,
        vault::{self, Standing},
    },
    web::{self, field},
};

/// The database's name.
const NAME: &str = "imprint";
/// The version of its layout; [`upgrade`] knows all before.
const VERSION: u32 = 3;

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
    /// Whether the others are sealed; the only one that never is.
    Vault,
}

impl Table {
    /// Those that a passphrase seals.
    pub const TURNED: [Self; 5] = [Self::Adapters, Self::Files, Self::Runs, Self::Checkpoints, Self::Texts];

    fn name(self) -> &'static str {
        match self {
            Table::Adapters => "adapters",
            Table::Files => "adapter-files",
            Table::Runs => "runs",
            Table::Checkpoints => "run-checkpoints",
            Table::Texts => "run-texts",
            Table::Vault => "vault",
        }
    }

    /// What a row is bound to when it is sealed.
    fn place(self, key: &str) -> String {
        format!("{}\n{key}", self.name())
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

/// Brings a database of any earlier version up to date: version 1 kept adapters only, 2 had no
/// vault, 0 is none at all.
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
    if before < 3 {
        add(Table::Vault)?;
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
    /// `storage-full` with the figures, `locked`, or `internal`; everything is then as it was.
    pub async fn write(&self, changes: &[Change]) -> Result<()> {
        loop {
            let standing = self.standing().await?;
            let mut sealed = Vec::with_capacity(changes.len());
            for change in changes {
                sealed.push(change.sealed(&standing).await?);
            }
            if self.commit(&standing, None, &sealed).await? {
                return Ok(());
            }
        }
    }

    /// Changes one row by what stands in it, once more where another tab changed it meanwhile; gives whether there is one.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn update<T>(&self, table: Table, key: &str, mut change: impl FnMut(&mut T)) -> Result<bool>
    where
        T: Serialize + DeserializeOwned,
    {
        loop {
            let (standing, [Some(found)]) = self.raw([table], key).await? else { return Ok(false) };
            let mut row = read::<T>(standing.open(&table.place(key), found.clone()).await?)?;
            change(&mut row);
            let put = Change::Put(table, key.to_owned(), web::object(&row)?).sealed(&standing).await?;
            if self.commit(&standing, Some(&found), &[put]).await? {
                return Ok(true);
            }
        }
    }

    /// Writes one row as it should lie, sealed or open, where it does not yet.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub async fn turn(&self, table: Table, key: &str) -> Result<()> {
        loop {
            let (standing, [Some(found)]) = self.raw([table], key).await? else { return Ok(()) };
            standing.key()?;
            if standing.suits(&found) {
                return Ok(());
            }
            let row = standing.open(&table.place(key), found.clone()).await?;
            let put = Change::Put(table, key.to_owned(), row).sealed(&standing).await?;
            if self.commit(&standing, Some(&found), &[put]).await? {
                return Ok(());
            }
        }
    }

    /// The rows of one key in several tables, as they stand together.
    ///
    /// # Errors
    /// `locked`, or `internal` when the browser refuses.
    pub async fn get<const N: usize>(&self, tables: [Table; N], key: &str) -> Result<[Option<JsValue>; N]> {
        let (standing, mut rows) = self.raw(tables, key).await?;
        for (row, table) in rows.iter_mut().zip(tables) {
            if let Some(found) = row.take() {
                *row = Some(standing.open(&table.place(key), found).await?);
            }
        }
        Ok(rows)
    }

    /// All rows of a table.
    ///
    /// # Errors
    /// `locked`, or `internal` when the browser refuses.
    pub async fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>> {
        let transaction = self.reading(&[table])?;
        let rows = transaction.object_store(table.name()).map_err(refusal)?;
        let keys = rows.get_all_keys(None, None).map_err(refusal)?.await.map_err(refusal)?;
        let rows = rows.get_all(None, None).map_err(refusal)?.await.map_err(refusal)?;
        let standing = standing(&transaction).await?;
        standing.key()?;
        let mut read_rows = Vec::with_capacity(rows.len());
        for (key, row) in keys.into_iter().zip(rows) {
            let place = table.place(&key.as_string().unwrap_or_default());
            read_rows.push(read(standing.open(&place, row).await?)?);
        }
        Ok(read_rows)
    }

    /// The keys of a table's rows.
    ///
    /// # Errors
    /// `internal` when the browser refuses.
    pub async fn keys(&self, table: Table) -> Result<Vec<String>> {
        let transaction = self.reading(&[table])?;
        let rows = transaction.object_store(table.name()).map_err(refusal)?;
        let keys = rows.get_all_keys(None, None).map_err(refusal)?.await.map_err(refusal)?;
        Ok(keys.into_iter().filter_map(|key| key.as_string()).collect())
    }

    /// What the vault says now.
    ///
    /// # Errors
    /// `internal` when the browser refuses.
    pub async fn standing(&self) -> Result<Standing> {
        standing(&self.reading(&[])?).await
    }

    /// Puts the record that `made` makes of the one before in its place.
    ///
    /// # Errors
    /// Those of `made`; as [`Database::write`].
    pub async fn change_record(&self, made: impl Fn(&Standing) -> Result<JsValue>) -> Result<()> {
        let transaction = self.0.transaction(&[Table::Vault.name()], TransactionMode::ReadWrite).map_err(refusal)?;
        let record = made(&standing(&transaction).await?)?;
        let rows = transaction.object_store(Table::Vault.name()).map_err(refusal)?;
        let asked = rows.put(&record, Some(&vault::RECORD.into())).map(drop);
        finish(transaction, asked).await
    }

    /// Makes changes that were sealed for `expected`, if that still stands and, where there is one, `found` is still the
    /// row of the only change; gives whether it did.
    async fn commit(&self, expected: &Standing, found: Option<&JsValue>, changes: &[Change]) -> Result<bool> {
        let mut tables: Vec<&str> = changes.iter().map(|change| change.table().name()).collect();
        tables.push(Table::Vault.name());
        tables.sort_unstable();
        tables.dedup();
        let transaction = self.0.transaction(&tables, TransactionMode::ReadWrite).map_err(refusal)?;
        if !standing(&transaction).await?.agrees(expected) {
            return Ok(false);
        }
        if let (Some(found), [Change::Put(table, key, _)]) = (found, changes) {
            let rows = transaction.object_store(table.name()).map_err(refusal)?;
            let now = rows.get(JsValue::from(key)).map_err(refusal)?.await.map_err(refusal)?;
            if !now.is_some_and(|now| unchanged(found, &now)) {
                return Ok(false);
            }
        }
        let asked = changes.iter().try_for_each(|change| change.ask(&transaction));
        finish(transaction, asked).await.map(|()| true)
    }

    /// The rows of one key as they lie, with what the vault says of them.
    async fn raw<const N: usize>(&self, tables: [Table; N], key: &str) -> Result<(Standing, [Option<JsValue>; N])> {
        let transaction = self.reading(&tables)?;
        let mut found = [const { None }; N];
        for (row, table) in found.iter_mut().zip(tables) {
            let rows = transaction.object_store(table.name()).map_err(refusal)?;
            *row = rows.get(JsValue::from(key)).map_err(refusal)?.await.map_err(refusal)?;
        }
        Ok((standing(&transaction).await?, found))
    }

    /// A transaction that reads some tables, and the vault's.
    fn reading(&self, tables: &[Table]) -> Result<Transaction> {
        let names: Vec<&str> = tables.iter().chain(&[Table::Vault]).map(|table| table.name()).collect();
        self.0.transaction(&names, TransactionMode::ReadOnly).map_err(refusal)
    }
}

/// What the vault says within a transaction.
async fn standing(transaction: &Transaction) -> Result<Standing> {
    let rows = transaction.object_store(Table::Vault.name()).map_err(refusal)?;
    let record = rows.get(JsValue::from(vault::RECORD)).map_err(refusal)?.await.map_err(refusal)?;
    Ok(Standing::of(record))
}

/// Whether a row is the one that was found before.
///
/// The bytes of an open row never change but with the rest of it, or by being sealed.
fn unchanged(found: &JsValue, now: &JsValue) -> bool {
    match (seal::sealed_with(found), seal::sealed_with(now)) {
        (Some(_), Some(_)) => seal::same(found, now),
        (None, None) => pack::told(found) == pack::told(now),
        _ => false,
    }
}

impl Change {
    fn table(&self) -> Table {
        match self {
            Change::Put(table, ..) | Change::Delete(table, _) => *table,
        }
    }

    /// The same change with its row as it is to lie.
    async fn sealed(&self, standing: &Standing) -> Result<Self> {
        Ok(match self {
            Change::Put(table, key, row) => {
                Change::Put(*table, key.clone(), standing.seal(&table.place(key), row).await?)
            }
            Change::Delete(table, key) => Change::Delete(*table, key.clone()),
        })
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
