//! Rules of the map.
