mod dialogue;
mod limits;
mod peer;
mod time;
mod work;
