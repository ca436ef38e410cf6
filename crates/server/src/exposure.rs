//! Nothing listens beyond loopback before somebody holds a key.

use std::net::SocketAddr;

use northstar_store::{PgPool, access};

use crate::secret::{InvalidConfig, Secret};

/// Refuses an address beyond loopback when there is neither a suite key nor any
/// API key that works: such a process could only be reached by those who should
/// not. Every RPC but health, and every HTTP door, asks for a key or a signature in
/// any case.
///
/// # Errors
/// [`InvalidConfig::Exposed`], also when the keys cannot be read.
pub(crate) async fn check(
    addresses: [SocketAddr; 2],
    suite_key: Option<&Secret>,
    pool: &PgPool,
) -> Result<(), InvalidConfig> {
    let Some(exposed) = addresses.into_iter().find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    if suite_key.is_some() || a_key_works(pool).await {
        return Ok(());
    }
    Err(InvalidConfig::Exposed(exposed))
}

async fn a_key_works(pool: &PgPool) -> bool {
    let found = async {
        let mut connection = pool.acquire().await?;
        access::has_working_key(&mut connection).await
    };
    found.await.unwrap_or_else(|error: northstar_store::Error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "api keys cannot be read");
        false
    })
}
