//! A PostgreSQL and an ingestion process that a test may kill and start again.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use northstar_client::{Clients, Credentials, Endpoints};
use northstar_embedded::{Cluster, Options};
use northstar_proto::ingestion::v1 as pb;
use rand::Rng as _;
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const SUITE_KEY: &str = "suite-key-of-the-fault-tests";
const PROJECT: i32 = 1;
/// How long anything may take before the test gives up: recovery on a busy machine takes seconds, not minutes.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Stage {
    postgres: Option<Cluster>,
    service: Option<Child>,
    address: SocketAddr,
    http_address: SocketAddr,
    data: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
    _folder: Option<TempDir>,
}

impl Stage {
    /// Everything in a temporary folder.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A service with these variables in its environment.
    pub async fn start_with(environment: &[(&'static str, &'static str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut stage = Self::prepare(&folder.path().join("postgres"));
        stage._folder = Some(folder);
        stage.environment = environment.to_vec();
        stage.begin().await
    }

    /// The files of PostgreSQL in a folder of the caller's.
    pub async fn start_in(data: &Path) -> Self {
        Self::prepare(data).begin().await
    }

    fn prepare(data: &Path) -> Self {
        Self {
            postgres: None,
            service: None,
            address: free_address(),
            http_address: free_address(),
            data: data.to_owned(),
            log: std::env::temp_dir()
                .join(format!("northstar-faults-{}.log", rand::random::<u32>())),
            environment: Vec::new(),
            _folder: None,
        }
    }

    async fn begin(mut self) -> Self {
        self.start_postgres().await;
        northstar_store::migrate(&self.url()).await.expect("the schema");
        self.start_service().await;
        self
    }

    /// The database as its superuser.
    pub fn url(&self) -> String {
        self.postgres.as_ref().expect("PostgreSQL runs").url("postgres")
    }

    /// Clients over a connection of their own.
    pub fn clients(&self) -> Clients {
        let url = format!("http://{}", self.address).parse().expect("an address");
        let credentials = Credentials::api_key(SUITE_KEY).expect("a key");
        Clients::new(&Endpoints::all_at(&url), credentials).expect("clients").for_project(PROJECT)
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the service listens for HTTP.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The lines of a head that say who is calling.
    pub fn http_credentials(&self) -> String {
        format!("authorization: Bearer {SUITE_KEY}\r\nnorthstar-project: {PROJECT}\r\n")
    }

    /// Starts PostgreSQL, or takes over one that runs.
    pub async fn start_postgres(&mut self) {
        let options = Options::new(&self.data)
            .setting("shared_buffers", "32MB")
            .setting("max_wal_size", "64MB")
            .setting("min_wal_size", "32MB");
        self.postgres = Some(Cluster::start(options).await.expect("PostgreSQL starts"));
    }

    /// The folder of the cluster.
    pub fn postgres_home(&self) -> PathBuf {
        self.postgres.as_ref().expect("PostgreSQL runs").home().to_owned()
    }

    /// Starts PostgreSQL again if it stopped by itself.
    pub async fn revive_postgres(&mut self) {
        self.postgres.take().expect("PostgreSQL ran").leave_running();
        self.start_postgres().await;
    }

    /// Sends a signal to the server and all of its sessions.
    pub fn signal_postgres(&self, name: &str) {
        let postmaster = self.postgres.as_ref().expect("PostgreSQL runs").pid();
        for pid in sessions(postmaster).into_iter().chain([postmaster]) {
            let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "process {pid} takes no {name}");
        }
    }

    /// A call with a body that need not be a message; its first answer.
    pub async fn call_raw<C>(&self, path: &str, body: C::Encode, codec: C) -> Result<(), Status>
    where
        C: Codec + Clone,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        let mut client = self.raw_client().await?;
        let mut request = Self::signed(tokio_stream::once(body));
        request.set_timeout(Duration::from_secs(5));
        let path = path.parse().expect("a path");
        let mut answers = client.streaming(request, path, codec).await?.into_inner();
        // A subscription has no end and may have no beginning either.
        match tokio::time::timeout(Duration::from_millis(300), answers.message()).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Ok(()),
        }
    }

    /// A call that begins, and whose message never comes; how it ends.
    pub async fn call_silent<C>(&self, path: &str, codec: C) -> Result<(), Status>
    where
        C: Codec + Clone,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        let mut client = self.raw_client().await?;
        let request = Self::signed(tokio_stream::pending::<C::Encode>());
        let path = path.parse().expect("a path");
        let mut answers = client.streaming(request, path, codec).await?.into_inner();
        answers.message().await.map(|_| ())
    }

    /// A client of any method, over a connection of its own.
    async fn raw_client(&self) -> Result<Grpc<Channel>, Status> {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        let mut client = Grpc::new(endpoint.connect().await.expect("a connection"));
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(client)
    }

    fn signed<T>(body: T) -> Request<T> {
        let mut request = Request::new(body);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {SUITE_KEY}").parse().expect("ASCII"));
        metadata.insert("northstar-project", PROJECT.into());
        request
    }

    /// Kills the server process as the kernel would; its sessions notice and end.
    pub fn kill_postgres(&mut self) {
        let cluster = self.postgres.take().expect("PostgreSQL runs");
        let pid = cluster.pid();
        cluster.leave_running();
        kill(pid);
    }

    /// Kills one session of the service: PostgreSQL then throws all of them out and recovers by itself.
    pub fn kill_a_session(&self, random: &mut impl rand::Rng) {
        let postmaster = self.postgres.as_ref().expect("PostgreSQL runs").pid();
        let sessions = sessions(postmaster);
        if !sessions.is_empty() {
            kill(sessions[random.random_range(0..sessions.len())]);
        }
    }

    /// Starts the service and waits until it answers.
    pub async fn start_service(&mut self) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let exited = self
                    .service
                    .as_mut()
                    .is_none_or(|child| child.try_wait().expect("a child").is_some());
                if exited {
                    self.service = Some(self.spawn());
                }
                if self.clients().ingestion().list_sources(pb::ListSourcesRequest {}).await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "the service does not start: {}", self.told());
    }

    fn spawn(&self) -> Child {
        let log =
            std::fs::File::options().create(true).append(true).open(&self.log).expect("a log");
        Command::new(env!("CARGO_BIN_EXE_northstar-ingestion"))
            .env("DATABASE_URL", self.url())
            .env("NORTHSTAR_SUITE_KEY", SUITE_KEY)
            .env("NORTHSTAR_GRPC_LISTEN", self.address.to_string())
            .env("NORTHSTAR_HTTP_LISTEN", self.http_address.to_string())
            .env("NORTHSTAR_LOG", "warn")
            // Nobody else runs, so nobody has to follow an erasure.
            .env("NORTHSTAR_INGESTION_ERASURE_FOLLOWERS", "")
            .envs(self.environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the service starts")
    }

    pub fn kill_service(&mut self) {
        if let Some(mut child) = self.service.take() {
            child.kill().expect("the service can be killed");
            child.wait().expect("the service ends");
        }
    }

    /// The id of the service's process; the same one as long as nobody started it again.
    pub fn service_pid(&self) -> u32 {
        self.service.as_ref().expect("the service runs").id()
    }

    /// Whether the process that was started last still runs.
    pub fn service_lives(&mut self) -> bool {
        self.service.as_mut().is_some_and(|child| child.try_wait().expect("a child").is_none())
    }

    /// The most memory the service ever held, in MiB; absent where the system does not tell.
    pub fn peak_mebibytes(&self) -> Option<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.service_pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
    }

    /// What the service wrote to its standard error.
    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Stops everything; nothing may have panicked on the way.
    pub async fn stop(mut self) {
        self.kill_service();
        let told = self.told();
        assert!(!told.contains("panicked"), "{told}");
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await.expect("PostgreSQL stops");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(child) = &mut self.service {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// An address that nobody else takes while the service is down: below the range from which the system gives ports to
/// outgoing connections.
fn free_address() -> SocketAddr {
    let mut random = rand::rng();
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], random.random_range(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The processes of a server that serve clients, by their parent and their title.
fn sessions(postmaster: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let parent = format!("PPid:\t{postmaster}\n");
        read("status").contains(&parent) && read("cmdline").contains("[local]")
    })
    .collect()
}

fn kill(pid: u32) {
    let done = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(done.expect("kill runs").success(), "process {pid} cannot be killed");
}

/// One batch, with a deadline so that no fault can hang a client.
pub async fn ingest(
    clients: &Clients,
    source: &str,
    events: Vec<pb::Event>,
) -> Result<pb::IngestEventsResponse, Status> {
    let mut request =
        tonic::Request::new(pb::IngestEventsRequest { source: source.to_owned(), events });
    request.set_timeout(Duration::from_secs(20));
    clients.ingestion().ingest_events(request).await.map(tonic::Response::into_inner)
}
