mod dialogue;
mod limits;
mod negotiation;
mod peer;
mod recording;
mod time;
mod work;
