//! A subscriber, and what becomes of it when it may not hear any more what it listens to; and what a
//! current client library asks of an old Redis.

use super::DemoError;
use super::actor::{Actor, Expected, broken, stdout};
use super::scene::Scene;
use super::stage::Stage;

/// Shows both.
pub(super) async fn listening(
    stage: &mut Stage,
    scene: &Scene,
    ops: &mut Actor<'_>,
) -> Result<(), DemoError> {
    stage
        .step("A current client library, and a subscriber")
        .map_err(stdout)?;
    let mut cart = Actor::enter("cart", scene).await?;
    cart.play(
        stage,
        &["CLIENT", "SETINFO", "lib-name", "demo"],
        Expected::Ok,
    )
    .await?;
    stage
        .why("Redis knows that command since 7.2. For older ones respgate answers it, so libraries connect as they are.")
        .map_err(stdout)?;
    cart.play(
        stage,
        &["SUBSCRIBE", "orders:new"],
        Expected::Error("NOPERM No permissions to access a channel"),
    )
    .await?;
    let subscribed = Expected::Words(&["subscribe", "cart:news", "1"]);
    cart.play(stage, &["SUBSCRIBE", "cart:news"], subscribed)
        .await?;
    let publish = ["PUBLISH", "cart:news", "sold out"];
    ops.play(stage, &publish, Expected::Integer(1)).await?;
    cart.hear(
        stage,
        Expected::Words(&["message", "cart:news", "sold out"]),
    )
    .await?;
    let narrow = ["ACL", "SETUSER", "cart", "resetchannels"];
    ops.play(stage, &narrow, Expected::Ok).await?;
    match cart.hear_the_end().await {
        Ok(()) => stage.refused("the connection is closed").map_err(stdout)?,
        Err(reply) => return Err(broken("cart, after that", "the end", &reply)),
    }
    ops.play(stage, &["ACL", "LOAD"], Expected::Ok).await?;
    stage
        .why("Who loses a channel hears no more of it: as in Redis, the subscriber is cut.")
        .map_err(stdout)
}
