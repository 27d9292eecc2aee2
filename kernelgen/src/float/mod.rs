//! Fast twins of golden's float operations.
