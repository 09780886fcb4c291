mod dialogue;
mod limits;
mod negotiation;
mod peer;
mod time;
mod work;
