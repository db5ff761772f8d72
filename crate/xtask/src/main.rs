//! `cargo xtask`: sets up, builds, serves and tests Imprint.
//!
//! `run` and `test` need nothing but Rust, Node and a network: what is missing is installed or built first, and kept.

mod bench;
mod licences;
mod model;
mod process;
mod serve;
mod setup;
mod site;
mod test;
mod wasm_toolchain;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

/// Sets up, builds, serves and tests Imprint.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Task {
    /// Installs or builds what is missing and fetches the model.
    Setup,
    /// Builds the static site into `dist/` and the npm package into `pkg/dist/`.
    Build,
    /// Builds, serves the site on this machine only and opens it.
    Run,
    /// Builds, then runs every check and test.
    Test,
    /// Builds and packs the npm package.
    Package,
    /// Builds, measures natively and in Chromium, and writes `BENCHMARKS.md`.
    Bench(bench::Measure),
}

/// What a person may choose.
#[derive(Args, Clone)]
pub struct Options {
    /// Optimises the wasm module fully (the default).
    #[arg(long, global = true, conflicts_with = "dev")]
    pub release: bool,
    /// Builds quickly: a larger, slower module.
    #[arg(long, global = true)]
    pub dev: bool,
    /// The port to serve on; 0 takes any free one.
    #[arg(long, global = true, default_value_t = 8090)]
    pub port: u16,
    /// A listed model (see `imprint models`) or a GGUF file to use in place of the default model.
    #[arg(long, global = true, value_name = "NAME|PATH")]
    pub model: Option<String>,
    /// Accepts the terms that the named model comes under; needed once.
    #[arg(long, global = true)]
    pub accept_terms: bool,
    /// Lets the page fetch models from this origin too, such as https://huggingface.co; may be repeated.
    #[arg(long, global = true, value_name = "ORIGIN")]
    pub model_host: Vec<String>,
    /// Never touches the network; says what is missing.
    #[arg(long, global = true)]
    pub offline: bool,
    /// Puts the model into `dist/`, for a host that serves nothing else; models from earlier builds stay there.
    #[arg(long, global = true)]
    pub model_in_site: bool,
    /// Does not open a browser.
    #[arg(long, global = true)]
    pub no_open: bool,
    /// Runs one stage of the tests only.
    #[arg(long, global = true, value_name = "STAGE")]
    pub only: Option<test::Stage>,
}

/// Where things are, and what was asked for.
pub struct Project {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Toolchains, tools and models that outlive a checkout.
    pub cache: PathBuf,
    /// Cargo's target directory for this machine.
    pub target: PathBuf,
    /// What a person chose.
    pub options: Options,
}

impl Project {
    fn find(options: Options) -> Result<Self> {
        let here = std::env::current_dir().context("cannot tell the current directory")?;
        let start = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| here.clone(), PathBuf::from);
        let Some(root) = start.ancestors().find(|dir| dir.join("crate/xtask/Cargo.toml").is_file()) else {
            bail!("{} is not inside Imprint's checkout; change into it first", start.display());
        };
        let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
            (_, Some(home)) => PathBuf::from(home).join(".cache"),
            _ => bail!("neither XDG_CACHE_HOME nor HOME is set; set one to say where downloads are kept"),
        };
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| here.join(dir));
        let cache = here.join(cache).join("imprint");
        // Tools are started in it, so on a new machine it must be there before the first of them.
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        Ok(Self { root: root.to_owned(), cache, target, options })
    }

    /// The directory that everything for the browser is compiled in.
    ///
    /// It is apart from the host's: a fallback compiler may build host parts (macros, build scripts) too, and two
    /// compilers in one directory would undo each other's work.
    pub fn web_target(&self) -> PathBuf {
        self.target.join("web")
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Project::find(cli.options).and_then(|project| perform(&cli.task, &project)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            // One sentence, never a backtrace: what failed, why, and what to do.
            eprintln!("xtask: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: &Task, project: &Project) -> Result<()> {
    match task {
        Task::Setup => setup::prepare(project),
        Task::Build => site::build(project, &setup::prepare_build(project)?).map(|_| ()),
        Task::Run => site::run_site(project),
        Task::Test => test::run(project),
        Task::Package => site::package(project),
        Task::Bench(measure) => bench::run_bench(project, measure),
    }
}
