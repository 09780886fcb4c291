//! Tokens made with `openssl dgst -sha256 -sign` over claims `{"exp":4000000000,"name":"test","app":"live","sub":"user-7"}`.

pub(super) const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0z/q4hk3/TzsRnavhQk0
/4JRr6CFLAXct5HR0K+igETCFfeqqy7MhD+yFjEbmbjCNnSuyll70JgH74fm7uoh
UgQe733AuqASXVhgsRyE/pOUH289jv5Ih1BMlfayOUmeawddGCisUlPemdvTorMf
XsHrBmncqUNpJ4ZfVqFy/WvJc6hvsch6PeOCki+DbtSLAbGVza9QLbwdMpxiTFWY
FHIXbq4KmKJlqsT+I/2crKJchVjn0tv1i1JrajuTTB7vQwJga+kyQQa18bvde2YE
4D+Sw8gPcYvGechLdgj1Nxih6MNC5cHR6nqFBJP6qTznRQIJRLZYQwGD3AHXN6iE
gQIDAQAB
-----END PUBLIC KEY-----
";

pub(super) const EC_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpvNbAwdum5jHLaD4DQPLVfFVRCt6
CspNCe3ZPbSDWIkosXMj+XB5cmzpxdQnYLx/1ymB0jIRoNRxUsas/yHoog==
-----END PUBLIC KEY-----
";

pub(super) const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQwMDAwMDAwMDAsIm5hbWUiOiJ0ZXN0IiwiYXBwIjoibGl2ZSIsInN1YiI6InVzZXItNyJ9.MngefTqRHQdch8J7rn8pOZw55GDJuUKgxboNqRNzA5p5oXCyQlgN9rkBI-g-YzFC-vaLcmTAj5DyX6S-UA7LaIB4ppoytGGIonTYmloVMpI9W12N6A4tFQAbjByKo1NSoym6WEKQ266fw0qijk_be2qnXOOO1DWqZfUf60JhczetPizyeTZplvP3Wxu--XFWZGb1hdx84EIBukwRfxHHIEbNMxShYvdqp22S_IiuRE_2vQnc8xOjCqO0aizpDVbNhCf-87xEMz5H8VIsXkfWLDFZ7Kn5SSFnBOFOQ31tcukF2HQa6p0w-HA6KiKOjirDPMwGYRpu841xQw7xrDSgiA";

/// With `kid` r1.
pub(super) const RS256_KID: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InIxIn0.eyJleHAiOjQwMDAwMDAwMDAsIm5hbWUiOiJ0ZXN0IiwiYXBwIjoibGl2ZSIsInN1YiI6InVzZXItNyJ9.Ib8M1f3ccUkWw79dHc7sop46SH_0UR-tQVQiODD-q5s_AhmOEZvGFUP2UQ4UO-3lZtvzstQ3E7cDhXyWqBJYVJjDzBdac1BLy5h3IT_CzFVFmn0HRTbWW9yk0EFKJ9ONfVvMMcIU5BYr6z0LoMKrEeK8o1uSuYnP0X_4vtPJETu-MXwzquEAIaJwV7UNzMo8jQBT-KlpregOe9UsW51RHec-q_zyhW8cVp4XSO3WFtYj6ZW3io2Kbf5OYy4YfkbzNRqIgVZpbhe1H2nsS6zmsfHJ4Qa_yREUrQerRZ4RJ66tADAYhmJg40QLeI7oAXYsYTaznYXskQC3FzFzTjTyGQ";

pub(super) const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQwMDAwMDAwMDAsIm5hbWUiOiJ0ZXN0IiwiYXBwIjoibGl2ZSIsInN1YiI6InVzZXItNyJ9.HHmY_inu7RKuEHbJ2Dd_DuKdZYchGNOdROOTm9bJHft3FIqjR1cdiRNEuP4EuFNBPTcA7wtYgpGPyLXDzREFrQ";

/// With `kid` e1.
pub(super) const ES256_KID: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImUxIn0.eyJleHAiOjQwMDAwMDAwMDAsIm5hbWUiOiJ0ZXN0IiwiYXBwIjoibGl2ZSIsInN1YiI6InVzZXItNyJ9.2HcLKsLFB-7d40aHXfxpmPvk5j7vy3AaFBfu5_Rw_J81RyvhoYgsTuY0hUZiaY5B9i8dFXGxqgrEAQ2l2-QfbA";

/// A secret, an RSA key for encryption, one of an unknown kind, r1 for RS256, e1 on P-256, one for RS512.
pub(super) const KEY_SET: &str = r#"{"keys": [{"kty": "oct", "kid": "o", "k": "c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"}, {"kty": "RSA", "kid": "enc", "use": "enc", "n": "0z_q4hk3_TzsRnavhQk0_4JRr6CFLAXct5HR0K-igETCFfeqqy7MhD-yFjEbmbjCNnSuyll70JgH74fm7uohUgQe733AuqASXVhgsRyE_pOUH289jv5Ih1BMlfayOUmeawddGCisUlPemdvTorMfXsHrBmncqUNpJ4ZfVqFy_WvJc6hvsch6PeOCki-DbtSLAbGVza9QLbwdMpxiTFWYFHIXbq4KmKJlqsT-I_2crKJchVjn0tv1i1JrajuTTB7vQwJga-kyQQa18bvde2YE4D-Sw8gPcYvGechLdgj1Nxih6MNC5cHR6nqFBJP6qTznRQIJRLZYQwGD3AHXN6iEgQ", "e": "AQAB"}, {"kty": "what", "kid": "w"}, {"kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", "n": "0z_q4hk3_TzsRnavhQk0_4JRr6CFLAXct5HR0K-igETCFfeqqy7MhD-yFjEbmbjCNnSuyll70JgH74fm7uohUgQe733AuqASXVhgsRyE_pOUH289jv5Ih1BMlfayOUmeawddGCisUlPemdvTorMfXsHrBmncqUNpJ4ZfVqFy_WvJc6hvsch6PeOCki-DbtSLAbGVza9QLbwdMpxiTFWYFHIXbq4KmKJlqsT-I_2crKJchVjn0tv1i1JrajuTTB7vQwJga-kyQQa18bvde2YE4D-Sw8gPcYvGechLdgj1Nxih6MNC5cHR6nqFBJP6qTznRQIJRLZYQwGD3AHXN6iEgQ", "e": "AQAB"}, {"kty": "EC", "kid": "e1", "crv": "P-256", "x": "pvNbAwdum5jHLaD4DQPLVfFVRCt6CspNCe3ZPbSDWIk", "y": "KLFzI_lweXJs6cXUJ2C8f9cpgdIyEaDUcVLGrP8h6KI"}, {"kty": "RSA", "kid": "r512", "alg": "RS512", "n": "0z_q4hk3_TzsRnavhQk0_4JRr6CFLAXct5HR0K-igETCFfeqqy7MhD-yFjEbmbjCNnSuyll70JgH74fm7uohUgQe733AuqASXVhgsRyE_pOUH289jv5Ih1BMlfayOUmeawddGCisUlPemdvTorMfXsHrBmncqUNpJ4ZfVqFy_WvJc6hvsch6PeOCki-DbtSLAbGVza9QLbwdMpxiTFWYFHIXbq4KmKJlqsT-I_2crKJchVjn0tv1i1JrajuTTB7vQwJga-kyQQa18bvde2YE4D-Sw8gPcYvGechLdgj1Nxih6MNC5cHR6nqFBJP6qTznRQIJRLZYQwGD3AHXN6iEgQ", "e": "AQAB"}]}"#;

/// Of 1024 bits.
pub(super) const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC++Y+j8+wFbRt9R2SW0NMWA3eV
Rbked4YDbqSn7u3eCLY3YlMehNH61HRzal5Bq7iaTl1umHjHrvDEF0qSyvud6N4B
jSzd2nWjEqWZ65O72oTwTpsJEBhM875UnRc1oAxFkpBeugy9wnvPwNbRRBZ4abiZ
5c3AXT7hfD4E9r1mzQIDAQAB
-----END PUBLIC KEY-----
";

/// On P-384.
pub(super) const EC_P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEgwWManVZsfJYDBJ3fTugR3KCRCSu/38L
/htJDhx4LddnwWEr2CvRm6jOpGolrPqJz4FJb6d+2cj84KBmr63+anaJiRKF9Mlg
Orc5mZ0LNzmmsBSJJhbtqgh4l10Mnbv6
-----END PUBLIC KEY-----
";

/// On secp256k1, whose points have the length of those of P-256.
pub(super) const EC_K256: &str = "\
-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEKiSZva497N5QkCklFBcWv+Wce216p4cB
oJNchkuAlgb8KELlM8ELAh44z1qhzdcGZ0BSiD67y2Fmn636jjx5Fw==
-----END PUBLIC KEY-----
";
