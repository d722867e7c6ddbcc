// A folder of self-signed certificates, gone with the test.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace lbd {

template <class T, auto kFree>
struct Freed {
  void operator()(T* object) const { kFree(object); }
};
using Key = std::shared_ptr<EVP_PKEY>;

inline Key ec_key() { return {EVP_EC_gen("P-256"), EVP_PKEY_free}; }
inline Key rsa_key(unsigned int bits) { return {EVP_RSA_gen(bits), EVP_PKEY_free}; }

class CertificateFolder {
 public:
  CertificateFolder()
      : folder_(std::filesystem::path(testing::TempDir()) / ("tls" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~CertificateFolder() { std::filesystem::remove_all(folder_); }
  CertificateFolder(const CertificateFolder&) = delete;
  CertificateFolder& operator=(const CertificateFolder&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ / name; }

  /// Writes name.pem and name.key; `names` as "DNS:a,DNS:b".
  void write(const std::string& name, const Key& key, const std::string& names,
             long good_for_s = 3600) const {
    std::unique_ptr<X509, Freed<X509, X509_free>> made(X509_new());
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 4711);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -7200);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), good_for_s);
    X509_set_pubkey(made.get(), key.get());
    X509_NAME* subject = X509_get_subject_name(made.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made.get(), subject);
    if (!names.empty()) {
      X509_EXTENSION* extension =
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
      X509_add_ext(made.get(), extension, -1);
      X509_EXTENSION_free(extension);
    }
    X509_sign(made.get(), key.get(), EVP_sha256());
    std::unique_ptr<FILE, Freed<FILE, fclose>> chain(fopen(path(name + ".pem").c_str(), "w"));
    PEM_write_X509(chain.get(), made.get());
    std::unique_ptr<FILE, Freed<FILE, fclose>> secret(fopen(path(name + ".key").c_str(), "w"));
    PEM_write_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace lbd
