//! What is right: the scalar oracle of ternary and transformer arithmetic.
